"""The mechanics of the distillations on a tiny network of random weights; the theory is in tests/oracles."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from core.attributes import CAMERA, WIDTH
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.guidance import ClassifierFreeGuidance
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.nn.unet import UNet, UNetConfig
from dream3d.distill import (
    CSD,
    ISM,
    SDS,
    SJC,
    VSD,
    LatentSpace,
    LinearAnnealing,
    LoRAScoreModel,
    PixelSpace,
    X0Reconstruction,
    make_model_space,
)

BATCH, SIZE = 3, 16
TIMES = LinearAnnealing((0.3, 0.7), (0.3, 0.7))


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def condition(batch=BATCH, seed=5):
    tokens = torch.randn(batch, 2, 8, generator=random(seed))
    return Condition(tokens, torch.ones(batch, 2, dtype=torch.bool), torch.zeros(batch, WIDTH))


def network(channels, patch):
    torch.manual_seed(0)
    config = UNetConfig(
        in_channels=channels, patch=patch, widths=(32,), blocks=(1,), attention=(True,), context_width=8
    )
    unet = UNet(config)
    for parameter in unet.parameters():
        nn.init.normal_(parameter, std=0.1)
    return unet.eval()


@pytest.fixture(scope="module")
def pixels():
    return Denoiser(network(3, 4), NoiseSchedule.cosine(), Parameterization.V, clip=1.0)


@pytest.fixture(scope="module")
def latents():
    return Denoiser(network(4, 1), NoiseSchedule.cosine(), Parameterization.V)


@pytest.fixture(scope="module")
def stage():
    torch.manual_seed(1)
    config = AutoencoderConfig(size=SIZE, latent_channels=4, widths=(8, 16), decoder_blocks=(1, 1))
    autoencoder = Autoencoder(config).eval().requires_grad_(False)
    for parameter in autoencoder.parameters():
        nn.init.normal_(parameter, std=0.1)
    autoencoder.fit_statistics([renders().detach()])
    return autoencoder


def renders(seed=3):
    return (torch.rand(BATCH, 3, SIZE, SIZE, generator=random(seed)) * 2 - 1).requires_grad_(True)


def guided(denoiser, scale=5.0):
    return ClassifierFreeGuidance(denoiser, scale, condition(1, seed=6))


def vsd(denoiser, space=None, scale=5.0):
    return VSD(guided(denoiser, scale), LoRAScoreModel(denoiser, random(7)), TIMES, space)


MAKES = {
    "sds": lambda denoiser, space=None: SDS(guided(denoiser), TIMES, space),
    "sjc": lambda denoiser, space=None: SJC(guided(denoiser), TIMES, space, draws=2),
    "csd": lambda denoiser, space=None: CSD(guided(denoiser), TIMES, space),
    "ism": lambda denoiser, space=None: ISM(guided(denoiser), TIMES, space),
    "vsd": vsd,
    "x0": lambda denoiser, space=None: X0Reconstruction(guided(denoiser), TIMES, space),
    "x0 in steps": lambda denoiser, space=None: X0Reconstruction(guided(denoiser), TIMES, space, steps=3),
}


def told(distillation, x, seed=0):
    """What it says, and its gradient with respect to the renders."""
    said = distillation(x, condition(), 0.5, random(seed))
    return said, torch.autograd.grad(said.loss, x)[0]


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_one_seed_gives_the_same_bytes(pixels, make):
    _, first = told(make(pixels), renders())
    _, again = told(make(pixels), renders())
    _, other = told(make(pixels), renders(), seed=1)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_rows_do_not_depend_on_each_other(pixels, make):
    _, first = told(make(pixels), renders())
    changed = renders().detach().clone()
    changed[1] = 0.3
    _, second = told(make(pixels), changed.requires_grad_(True))
    torch.testing.assert_close(first[[0, 2]], second[[0, 2]])
    assert not torch.allclose(first[1], second[1])


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_monitors_say_what_happened(pixels, make):
    said, slope = told(make(pixels), renders())
    assert said.loss.shape == () and said.t.shape == (BATCH,)
    assert ((said.t >= 300) & (said.t < 700)).all()
    torch.testing.assert_close(said.gradient_norm, slope.flatten(1).norm(dim=1))
    assert not said.x0.requires_grad and said.to_images().shape == (BATCH, 3, SIZE, SIZE)
    assert all(parameter.grad is None for parameter in pixels.parameters())


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_the_gradient_reaches_renders_through_a_first_stage(latents, stage, make):
    said, slope = told(make(latents, LatentSpace(stage)), renders())
    assert said.x0.shape == (BATCH, 4, 4, 4)
    assert slope.isfinite().all() and (slope.flatten(1).norm(dim=1) > 0).all()
    picture = said.to_images()
    assert picture.shape == (BATCH, 3, SIZE, SIZE) and picture.abs().max() <= 1
    assert all(parameter.grad is None for parameter in stage.parameters())


def test_a_latent_gradient_is_pulled_back_by_the_encoder(latents, stage):
    """J^T g, with the Jacobian by finite differences along one direction."""
    said, slope = told(SDS(guided(latents), TIMES, LatentSpace(stage)), renders())
    along, step = torch.randn(renders().shape, generator=random(9)), 1e-2
    x = renders().detach()
    z = stage.to_latents(x).requires_grad_(True)
    g = torch.autograd.grad(SDS(guided(latents), TIMES)(z, condition(), 0.5, random()).loss, z)[0]
    change = (stage.to_latents(x + step * along) - stage.to_latents(x - step * along)) / (2 * step)
    assert (slope * along).sum().item() == pytest.approx((g * change).sum().item(), rel=0.02)
    torch.testing.assert_close(said.gradient_norm, g.flatten(1).norm(dim=1))


def test_the_x0_form_of_latents_compares_pictures(latents, stage):
    said, slope = told(X0Reconstruction(guided(latents), TIMES, LatentSpace(stage)), renders())
    torch.testing.assert_close(slope, 2 * (renders() - said.to_images()).detach())


def test_the_space_is_chosen_by_the_first_stage(stage):
    assert isinstance(make_model_space(None), PixelSpace) and isinstance(make_model_space(stage), LatentSpace)


class Counted:
    """Remembers the timesteps it was asked at."""

    def __init__(self, denoiser):
        self.denoiser, self.schedule, self.asked = denoiser, denoiser.schedule, []

    def __call__(self, x, t, condition):
        self.asked.append(t.tolist())
        return self.denoiser(x, t, condition)


def test_targets_come_in_equal_steps_and_pull_the_renders_straight_to_them(pixels):
    counted = Counted(guided(pixels))
    x0 = X0Reconstruction(counted, LinearAnnealing((0.5, 0.5), (0.5, 0.5)), steps=5)
    said, slope = told(x0, renders())
    assert counted.asked == [[t] * BATCH for t in (500, 400, 300, 200, 100)]
    target = x0.target(renders().detach(), condition(), 0.5, random())
    assert torch.equal(target.x0, said.x0) and torch.equal(target.t, said.t)
    torch.testing.assert_close(slope, 2 * (renders() - target.images).detach())


def test_vsd_is_nothing_before_its_follower_has_learned(pixels):
    distillation = vsd(pixels, scale=1.0)
    said, _ = told(distillation, renders())
    assert (said.gradient_norm == 0).all()
    said, _ = told(distillation, renders())
    assert (said.gradient_norm > 0).all()


def test_the_follower_learns_the_renders(pixels):
    follower = LoRAScoreModel(pixels, random(), learning_rate=1e-2)
    x, generator = torch.full((BATCH, 3, SIZE, SIZE), 0.5), random(1)
    t, noise = torch.full((BATCH,), 600), torch.randn(x.shape, generator=random(2))
    xt = follower.schedule.add_noise(x, noise, t)

    def error():
        return (follower(xt, t, condition()).x0 - x).square().mean().item()

    before = error()
    for _ in range(12):
        follower.learn(x, condition(), generator)
    assert error() < 0.8 * before
    assert all(parameter.grad is None for parameter in pixels.parameters())


def test_vsd_goes_on_from_a_checkpoint_to_the_byte(pixels):
    whole, resumed = vsd(pixels), VSD(guided(pixels), LoRAScoreModel(pixels, random(8)), TIMES)
    for seed in (1, 2):
        told(whole, renders(), seed)
    state = whole.state_dict()
    expected = [told(whole, renders(), seed)[1] for seed in (3, 4)]
    resumed.load_state_dict(state)
    assert all(
        torch.equal(told(resumed, renders(), seed)[1], slope)
        for seed, slope in zip((3, 4), expected, strict=True)
    )


def test_losses_without_state_take_none(pixels):
    sds = SDS(guided(pixels), TIMES)
    sds.load_state_dict(sds.state_dict())
    with pytest.raises(ValueError, match="SDS keeps no state"):
        sds.load_state_dict({"down": torch.zeros(1)})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda guidance: SJC(guidance, TIMES, draws=0),
        lambda guidance: ISM(guidance, TIMES, interval=0.0),
        lambda guidance: ISM(guidance, TIMES, inversion_steps=0),
        lambda guidance: X0Reconstruction(guidance, TIMES, steps=0),
    ],
)
def test_settings_that_cannot_be(pixels, wrong):
    with pytest.raises(ValueError):
        wrong(guided(pixels))


def test_ism_leaves_unsaid_what_guidance_does(pixels, monkeypatch):
    """The inversion hears what the negative branch hears: here no camera."""
    told_camera, predict = [], type(pixels).predict

    def listen(self, x, t, heard):
        told_camera.extend(bool(row.any()) for row in heard.attributes[:, CAMERA])
        return predict(self, x, t, heard)

    monkeypatch.setattr(type(pixels), "predict", listen)
    guidance = ClassifierFreeGuidance(pixels, 5.0, condition(1, seed=6), dropped_groups=(CAMERA,))
    said = replace(condition(), attributes=torch.ones(BATCH, WIDTH))
    ISM(guidance, TIMES, inversion_steps=2)(renders(), said, 0.5, random())
    assert told_camera == [False] * 3 * BATCH + [False] * BATCH + [True] * BATCH
