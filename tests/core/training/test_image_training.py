"""The image training task: objectives, timestep sampling, and validation of presets."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from core.condition import Condition
from core.losses import clipped_snr_weight, hybrid_loss, min_snr_weight, simple_loss, vlb_loss
from core.training.config import Budget, TrainingConfig
from core.training.data import ImageData
from core.training.tasks.images import ImagePreset, ImageTask
from core.training.trainer import Trainer, stratified_timesteps

NETWORK = {"widths": [32], "blocks": [1], "attention": [False], "context_width": 8, "patch": 2}
PLAIN = {"size": 8, "network": NETWORK}
LEARNED = {"size": 8, "network": NETWORK | {"out_channels": 6}, "learned_variance": True}
INDEX = torch.arange(4)


class Images(ImageData):
    """Eight random images with text conditions drawn from the global generator."""

    def __init__(self, shape=(3, 8, 8)) -> None:
        self.pixels = torch.randint(256, (8, *shape), generator=torch.Generator().manual_seed(0)) / 127.5 - 1

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, index: Tensor) -> tuple[Tensor, Condition]:
        count = len(index)
        tokens = torch.randn(count, 3, 8)
        condition = Condition(tokens, torch.ones(count, 3, dtype=torch.bool), torch.zeros(count, 10))
        return self.pixels[index], condition


def make_denoiser(preset: ImagePreset):
    torch.manual_seed(1)
    denoiser = preset.model.denoiser()
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return denoiser


def reference_loss(denoiser, objective) -> Tensor:
    """Loss with the random draws in the order of the task."""
    torch.manual_seed(7)
    images, condition = Images().batch(INDEX)
    t = stratified_timesteps(len(images), 1000, images.device)
    return objective(denoiser, images, t, condition, torch.randn_like(images))


@pytest.mark.parametrize(
    ("settings", "objective"),
    [
        (
            {"model": PLAIN},
            lambda d, x, t, c, n: clipped_snr_weight(d, t, 200.0) * simple_loss(d, x, t, c, n),
        ),
        (
            {"model": PLAIN, "snr_weight": "min", "snr_gamma": 5.0},
            lambda d, x, t, c, n: min_snr_weight(d, t, 5.0) * simple_loss(d, x, t, c, n),
        ),
        ({"model": PLAIN, "objective": "vlb"}, vlb_loss),
        ({"model": LEARNED, "objective": "vlb"}, vlb_loss),
        (
            {"model": LEARNED, "objective": "hybrid", "vlb_weight": 0.01},
            lambda d, x, t, c, n: hybrid_loss(
                d, x, t, c, n, vlb_weight=0.01, simple_weight=clipped_snr_weight(d, t, 200.0)
            ),
        ),
    ],
)
def test_each_objective_matches_its_loss_bit_for_bit(settings, objective):
    preset = ImagePreset.model_validate(settings)
    denoiser = make_denoiser(preset)
    torch.manual_seed(7)
    ours = ImageTask(Images(), preset).loss(denoiser, INDEX)
    assert torch.equal(ours, reference_loss(denoiser, objective))
    assert ours.shape == (4,) and ours.isfinite().all()


def test_latents_have_a_continuous_decoder_term():
    """With a first stage the decoder term of the VLB is a density, without discrete levels."""
    stage = {"size": 8, "latent_channels": 4, "widths": [32, 32]}
    stage |= {"encoder_blocks": [1, 1], "decoder_blocks": [1, 1]}
    network = NETWORK | {"patch": 1, "in_channels": 4, "out_channels": 8}
    model = LEARNED | {"first_stage": stage, "network": network, "clip": None}
    model["noise_schedule"] = {"name": "cosine", "timesteps": 4}  # t = 0 is then one of four strata
    preset = ImagePreset.model_validate({"model": model, "objective": "vlb"})
    denoiser, data, values = make_denoiser(preset), Images(preset.model.shape), {}
    for levels in (None, 256):
        torch.manual_seed(7)
        images, condition = data.batch(INDEX)
        t = stratified_timesteps(4, 4, images.device)
        values[levels] = vlb_loss(denoiser, images, t, condition, torch.randn_like(images), levels=levels)
    torch.manual_seed(7)
    ours = ImageTask(data, preset).loss(denoiser, INDEX)
    assert torch.equal(ours, values[None]) and not torch.equal(ours, values[256])


def test_importance_weights_and_records_each_loss():
    model = PLAIN | {"noise_schedule": {"name": "cosine", "timesteps": 3}}
    preset = ImagePreset.model_validate({"model": model, "timestep_sampler": "importance"})
    task, denoiser = ImageTask(Images(), preset), make_denoiser(preset)
    torch.manual_seed(0)
    while task.state_dict()["counts"].min() < 10:
        task.loss(denoiser, INDEX)
    p = task.timesteps.probabilities()
    assert p.min() < 0.3 < 0.36 < p.max()
    torch.manual_seed(7)
    images, condition = Images().batch(INDEX)
    t = torch.multinomial(p, 4, replacement=True)
    loss = clipped_snr_weight(denoiser, t, 200.0) * simple_loss(
        denoiser, images, t, condition, torch.randn_like(images)
    )
    before = task.state_dict()["counts"].clone()
    torch.manual_seed(7)
    torch.testing.assert_close(task.loss(denoiser, INDEX), loss / (3 * p[t]).float())
    state = task.state_dict()
    assert torch.equal(state["counts"] - before, torch.bincount(t, minlength=3))
    for each, cost in zip(t.tolist(), loss.tolist(), strict=True):
        assert cost in state["losses"][each].tolist()


class StoppedError(RuntimeError):
    pass


class Fragile(ImageTask):
    """A task that fails after `steps_left` steps."""

    steps_left = 100

    def loss(self, denoiser, index):
        if self.steps_left == 0:
            raise StoppedError
        self.steps_left -= 1
        return super().loss(denoiser, index)


def test_a_failed_run_with_importance_resumes_exactly(tmp_path: Path) -> None:
    model = LEARNED | {"noise_schedule": {"name": "cosine", "timesteps": 3}}
    settings = {"model": model, "timestep_sampler": "importance", "objective": "hybrid"}
    preset = ImagePreset.model_validate(settings)
    config = TrainingConfig(batch_size=8, compile=False, log_steps=1, checkpoint_minutes=0.0, warmup_steps=0)

    def trainer(folder: Path) -> Trainer:
        return Trainer(make_denoiser(preset), Fragile(Images(), preset), config, folder)

    full, broken = trainer(tmp_path / "full"), trainer(tmp_path / "broken")
    assert full.run(Budget(steps=14))
    broken.task.steps_left = 10
    with pytest.raises(StoppedError):
        broken.run(Budget(steps=14))
    assert broken.task.timesteps.probabilities().std() > 0.01  # no longer uniform
    resumed = trainer(tmp_path / "broken")
    assert resumed.step == 10 and resumed.run(Budget(steps=14))
    for ours, expected in zip(resumed.network.parameters(), full.network.parameters(), strict=True):
        assert torch.equal(ours, expected)
    for name, value in full.task.state_dict().items():
        assert torch.equal(resumed.task.state_dict()[name], value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": PLAIN, "objective": "hybrid"}, "hybrid objective needs model.learned_variance"),
        ({"model": LEARNED}, "learned_variance needs the objective hybrid or vlb"),
        ({"timestep_sampler": "antithetic"}, "'uniform' or 'importance'"),
        ({"objective": "elbo"}, "'simple', 'hybrid' or 'vlb'"),
        ({"vlb_weight": 0}, "greater than 0"),
    ],
)
def test_invalid_presets_raise(settings, message):
    with pytest.raises(ValidationError, match=message):
        ImagePreset.model_validate(settings)
