"""Mechanics of the distillation losses on a tiny random network; closed forms are in tests/oracles."""

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
from core.samplers import ddim, dpm_solver, heun, unipc
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


def evaluate(distillation, x, seed=0):
    """The result of a distillation, and the gradient of its loss with respect to the renders."""
    result = distillation(x, condition(), 0.5, random(seed))
    return result, torch.autograd.grad(result.loss, x)[0]


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_one_seed_gives_the_same_bytes(pixels, make):
    _, first = evaluate(make(pixels), renders())
    _, again = evaluate(make(pixels), renders())
    _, other = evaluate(make(pixels), renders(), seed=1)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_rows_do_not_depend_on_each_other(pixels, make):
    _, first = evaluate(make(pixels), renders())
    changed = renders().detach().clone()
    changed[1] = 0.3
    _, second = evaluate(make(pixels), changed.requires_grad_(True))
    torch.testing.assert_close(first[[0, 2]], second[[0, 2]])
    assert not torch.allclose(first[1], second[1])


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_results_have_diagnostics(pixels, make):
    result, gradient = evaluate(make(pixels), renders())
    assert result.loss.shape == () and result.t.shape == (BATCH,)
    assert ((result.t >= 300) & (result.t < 700)).all()
    torch.testing.assert_close(result.gradient_norm, gradient.flatten(1).norm(dim=1))
    assert not result.x0.requires_grad and result.to_images().shape == (BATCH, 3, SIZE, SIZE)
    assert all(parameter.grad is None for parameter in pixels.parameters())


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_the_gradient_reaches_renders_through_a_first_stage(latents, stage, make):
    result, gradient = evaluate(make(latents, LatentSpace(stage)), renders())
    assert result.x0.shape == (BATCH, 4, 4, 4)
    assert gradient.isfinite().all() and (gradient.flatten(1).norm(dim=1) > 0).all()
    images = result.to_images()
    assert images.shape == (BATCH, 3, SIZE, SIZE) and images.abs().max() <= 1
    assert all(parameter.grad is None for parameter in stage.parameters())


def test_latent_gradients_are_backpropagated_through_the_encoder(latents, stage):
    """J^T g, with the Jacobian by finite differences along one direction."""
    result, gradient = evaluate(SDS(guided(latents), TIMES, LatentSpace(stage)), renders())
    along, step = torch.randn(renders().shape, generator=random(9)), 1e-2
    x = renders().detach()
    z = stage.to_latents(x).requires_grad_(True)
    g = torch.autograd.grad(SDS(guided(latents), TIMES)(z, condition(), 0.5, random()).loss, z)[0]
    change = (stage.to_latents(x + step * along) - stage.to_latents(x - step * along)) / (2 * step)
    assert (gradient * along).sum().item() == pytest.approx((g * change).sum().item(), rel=0.02)
    torch.testing.assert_close(result.gradient_norm, g.flatten(1).norm(dim=1))


def test_the_x0_loss_of_latents_compares_images(latents, stage):
    result, gradient = evaluate(X0Reconstruction(guided(latents), TIMES, LatentSpace(stage)), renders())
    torch.testing.assert_close(gradient, 2 * (renders() - result.to_images()).detach())


def test_the_space_is_chosen_by_the_first_stage(stage):
    assert isinstance(make_model_space(None), PixelSpace) and isinstance(make_model_space(stage), LatentSpace)


class Recorded:
    """Records the timesteps of its calls."""

    def __init__(self, denoiser):
        self.denoiser, self.schedule, self.calls = denoiser, denoiser.schedule, []

    def __call__(self, x, t, condition):
        self.calls.append(t.tolist())
        return self.denoiser(x, t, condition)


def test_targets_take_equal_steps_and_the_gradient_points_to_them(pixels):
    recorded = Recorded(guided(pixels))
    x0 = X0Reconstruction(recorded, LinearAnnealing((0.5, 0.5), (0.5, 0.5)), steps=5)
    result, gradient = evaluate(x0, renders())
    assert recorded.calls == [[t] * BATCH for t in (500, 400, 300, 200, 100)]
    target = x0.target(renders().detach(), condition(), 0.5, random())
    assert torch.equal(target.x0, result.x0) and torch.equal(target.t, result.t)
    torch.testing.assert_close(gradient, 2 * (renders() - target.images).detach())


def test_vsd_is_zero_before_its_score_model_is_trained(pixels):
    distillation = vsd(pixels, scale=1.0)
    result, _ = evaluate(distillation, renders())
    assert (result.gradient_norm == 0).all()
    result, _ = evaluate(distillation, renders())
    assert (result.gradient_norm > 0).all()


def test_the_score_model_is_trained_on_the_renders(pixels):
    score_model = LoRAScoreModel(pixels, random(), learning_rate=1e-2)
    x, generator = torch.full((BATCH, 3, SIZE, SIZE), 0.5), random(1)
    t, noise = torch.full((BATCH,), 600), torch.randn(x.shape, generator=random(2))
    xt = score_model.schedule.add_noise(x, noise, t)

    def error():
        return (score_model(xt, t, condition()).x0 - x).square().mean().item()

    before = error()
    for _ in range(12):
        score_model.learn(x, condition(), generator)
    assert error() < 0.8 * before
    assert all(parameter.grad is None for parameter in pixels.parameters())


def test_vsd_resumes_from_a_checkpoint_to_the_byte(pixels):
    first, resumed = vsd(pixels), VSD(guided(pixels), LoRAScoreModel(pixels, random(8)), TIMES)
    for seed in (1, 2):
        evaluate(first, renders(), seed)
    state = first.state_dict()
    expected = [evaluate(first, renders(), seed)[1] for seed in (3, 4)]
    resumed.load_state_dict(state)
    assert all(
        torch.equal(evaluate(resumed, renders(), seed)[1], gradient)
        for seed, gradient in zip((3, 4), expected, strict=True)
    )


def test_losses_without_state_refuse_one(pixels):
    sds = SDS(guided(pixels), TIMES)
    sds.load_state_dict(sds.state_dict())
    with pytest.raises(ValueError, match="SDS has no state"):
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
def test_invalid_settings_are_refused(pixels, wrong):
    with pytest.raises(ValueError, match="at least 1|needs 0 < interval < 1"):
        wrong(guided(pixels))


def test_ism_drops_the_same_attributes_as_guidance(pixels, monkeypatch):
    """The inversion has the condition of the negative branch: here without a camera."""
    cameras_given, predict = [], type(pixels).predict

    def record(self, x, t, given):
        cameras_given.extend(bool(row.any()) for row in given.attributes[:, CAMERA])
        return predict(self, x, t, given)

    monkeypatch.setattr(type(pixels), "predict", record)
    guidance = ClassifierFreeGuidance(pixels, 5.0, condition(1, seed=6), dropped_groups=(CAMERA,))
    with_camera = replace(condition(), attributes=torch.ones(BATCH, WIDTH))
    ISM(guidance, TIMES, inversion_steps=2)(renders(), with_camera, 0.5, random())
    assert cameras_given == [False] * 3 * BATCH + [False] * BATCH + [True] * BATCH


@pytest.mark.parametrize("sampler", [ddim, dpm_solver, unipc, heun])
def test_targets_of_a_sampler_are_its_samples_row_by_row(pixels, sampler):
    timesteps = LinearAnnealing((0.6, 0.9), (0.6, 0.9))
    renders, texts = torch.rand(2, 3, SIZE, SIZE, generator=random(8)) * 2 - 1, condition(2)
    loss = X0Reconstruction(pixels, timesteps, steps=4, sampler=sampler)
    target = loss.target(renders, texts, 0.0, random(3))
    again = random(3)
    t = timesteps.draw(2, 0.0, 1000, again)
    noised = pixels.schedule.add_noise(renders, torch.randn(renders.shape, generator=again), t)
    for row in range(2):
        path = [int(t[row]) * (4 - i) // 4 for i in range(4)]
        *_, state = sampler(pixels, noised[row : row + 1], texts[row], timesteps=path)
        torch.testing.assert_close(target.images[row : row + 1], state.x)
    if sampler is ddim:  # what the loss does without a sampler, for all rows at once
        plain = X0Reconstruction(pixels, timesteps, steps=4)
        expected = plain.target(renders, texts, 0.0, random(3))
        torch.testing.assert_close(target.images, expected.images)
