"""The adversary: losses and adaptive weight in closed form, training, and resuming an interrupted run."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.errors import UserError
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.discriminator import (
    GREATEST_WEIGHT,
    Discriminator,
    DiscriminatorConfig,
    adaptive_weight,
    discriminator_loss,
    generator_loss,
)
from core.training import checkpoint
from core.training.adversary import Adversary, AdversaryConfig
from core.training.config import Budget, TrainingConfig
from core.training.data import Shards
from core.training.tasks.autoencoders import AutoencoderPreset, AutoencoderTask
from core.training.trainer import BareNetwork, Trainer

SMALL = AdversaryConfig(network=DiscriminatorConfig(widths=(8, 16)), start=0.4)
TINY = AutoencoderConfig(size=16, latent_channels=4, widths=(8, 16), decoder_blocks=(1, 1))


def test_hinge_losses_match_their_closed_form() -> None:
    real, fake = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0)).mul(2)
    a, b = real.double().numpy(), fake.double().numpy()
    expected = (np.where(a < 1, 1 - a, 0).mean() + np.where(b > -1, 1 + b, 0).mean()) / 2
    assert discriminator_loss(real, fake).item() == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(generator_loss(fake), -b.reshape(3, -1).mean(1), rtol=1e-5)
    sure = torch.full((2, 1, 2, 2), 1.5)
    assert discriminator_loss(sure, -sure) == 0 and discriminator_loss(-sure, sure) == 2.5


def test_the_weight_balances_both_gradients_at_the_last_layer() -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 3)
    hidden = nn.Linear(3, 5)
    last = nn.Linear(5, 2, bias=False)
    h = hidden(x)
    y = last(h)
    target, direction = torch.randn(7, 2), torch.randn(7, 2)
    reconstruction, adversarial = (y - target).square().sum(), (y * direction).sum()
    # By hand: the gradient of a loss at W, y = h W^T, is (dloss/dy)^T h.
    a = (2 * (y - target)).T @ h
    b = direction.T @ h
    weight = adaptive_weight(reconstruction, adversarial, last.weight)
    assert weight.item() == pytest.approx((a.norm() / (b.norm() + 1e-4)).item(), rel=1e-5)
    assert not weight.requires_grad and last.weight.grad is None
    (reconstruction + weight * adversarial).backward()  # the graphs are retained
    torch.testing.assert_close(last.weight.grad, a + weight * b)
    assert adaptive_weight(
        (last(x @ torch.ones(3, 5)) ** 2).sum() * 1e3, last.weight.sum() * 0, last.weight
    ) == pytest.approx(GREATEST_WEIGHT)


def test_a_patch_is_38_pixels_wide_and_images_are_independent() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(DiscriminatorConfig())
    images = torch.randn(2, 3, 64, 64, requires_grad=True)
    logits = discriminator(images)
    assert logits.shape == (2, 1, 8, 8)
    torch.testing.assert_close(discriminator(images[1:]), logits[1:])
    # Group norm depends on the full image; without it a logit depends only on its patch.
    plain = Discriminator(DiscriminatorConfig())
    plain.layers = nn.Sequential(*(x for x in plain.layers if not isinstance(x, nn.GroupNorm)))
    (gradient,) = torch.autograd.grad(plain(images)[0, 0, 4, 4], images)
    touched = gradient[0].abs().sum(dim=0).nonzero()
    assert (touched.max(dim=0).values - touched.min(dim=0).values + 1).tolist() == [38, 38]
    with pytest.raises(ValidationError, match="widths must be multiples of 8"):
        DiscriminatorConfig(widths=(12,))


def test_the_adversary_trains_and_its_loss_reaches_only_the_decoder() -> None:
    torch.manual_seed(0)
    decoder = nn.Conv2d(4, 3, 1)
    adversary = Adversary(SMALL, decoder.weight, Accelerator(cpu=True))
    for group in adversary.optimizer.param_groups:
        group["lr"] = 2e-3
    latents, images = torch.randn(6, 4, 16, 16), torch.randn(6, 3, 16, 16).clamp(-1, 1)
    for _ in range(60):
        fake = decoder(latents).mul(0.2)  # low contrast
        loss = adversary.loss(images, fake, fake.abs().flatten(1).mean(1))
    assert loss.shape == (6,)
    with torch.no_grad():
        assert adversary.network(images).mean() > 0.5 > -0.5 > adversary.network(fake).mean()
    before = [parameter.clone() for parameter in adversary.network.parameters()]
    gradients = [parameter.grad.clone() for parameter in adversary.network.parameters()]
    loss.mean().backward()
    assert decoder.weight.grad is not None and decoder.weight.grad.any()
    for parameter, value, gradient in zip(adversary.network.parameters(), before, gradients, strict=True):
        assert torch.equal(parameter, value) and torch.equal(parameter.grad, gradient)


class Interrupted(AutoencoderTask):
    """A task that raises SIGINT, as Ctrl-C does, in its `call`-th step."""

    call = 0

    def loss(self, model: BareNetwork, index: Tensor) -> Tensor:
        self.call -= 1
        if not self.call:
            signal.raise_signal(signal.SIGINT)
        return super().loss(model, index)


def make(
    folder: Path, data: Path, adversary: AdversaryConfig | None = SMALL, interrupted: int = 0
) -> Trainer:
    training = TrainingConfig(batch_size=4, compile=False, log_steps=1, warmup_steps=2, decay=0.5)
    preset = AutoencoderPreset(model=TINY, held_back=2, adversary=adversary, training=training)
    torch.manual_seed(0)
    autoencoder, accelerator = Autoencoder(TINY), Accelerator(cpu=True)
    auxiliary = adversary and Adversary(adversary, autoencoder.last_layer, accelerator)
    task = Interrupted(Shards(data, "images"), preset, adversary=auxiliary)
    task.call = interrupted
    return Trainer(BareNetwork(autoencoder), task, training, folder, accelerator, auxiliary=auxiliary)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    pixels = torch.randint(256, (12, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    columns = {name: torch.zeros(12) for name in Shards.COLUMNS}
    save_file({"pixels": pixels.byte(), **columns}, folder / "images-00000.safetensors")
    return folder


@pytest.mark.parametrize("pause", [2, 7])  # before and after the adversary starts
def test_an_interrupted_run_resumes_to_the_same_bytes(data: Path, tmp_path: Path, pause: int) -> None:
    assert make(tmp_path / "full", data).run(Budget(steps=10))
    assert not make(tmp_path / "paused", data, interrupted=pause).run(Budget(steps=10))
    resumed = make(tmp_path / "paused", data)
    assert resumed.step == pause and resumed.run(Budget(steps=10))
    ours, theirs = (load_file(tmp_path / name / checkpoint.FILE) for name in ("paused", "full"))
    assert ours.keys() == theirs.keys()
    assert sum(name.startswith("beside/network/") for name in ours) == 8
    assert ours["beside/optimizer/layers.0.weight/step"] == 6  # one per step, from the fifth
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


def test_the_adversary_has_no_effect_before_it_starts(data: Path, tmp_path: Path) -> None:
    weights = {}
    for name, adversary in (("with", SMALL), ("without", None)):
        run = make(tmp_path / name, data, adversary, interrupted=4)
        run.run(Budget(steps=10))
        weights[name] = run.network.state_dict()
        resumed = make(tmp_path / name, data, adversary)
        resumed.run(Budget(steps=10))
        weights[f"{name} later"] = resumed.network.state_dict()
    for name, value in weights["without"].items():
        assert torch.equal(weights["with"][name], value), name
    assert not torch.equal(
        weights["with later"]["decoder.0.weight"], weights["without later"]["decoder.0.weight"]
    )
    with pytest.raises(UserError, match="is of another network"):
        make(tmp_path / "without", data)
    with pytest.raises(ValidationError, match="compile must be false with an adversary"):
        AutoencoderPreset(adversary=SMALL)
