"""Distillation losses built from options: every loss, with a camera as numbers, in words or without."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.guidance import ClassifierFreeGuidance, GuidanceInterval
from core.models.image_model import ImageModel, ImageModelConfig
from core.nn.unet import UNetConfig
from core.samplers import unipc
from dream3d.distill import CSD, ISM, SDS, SJC, VSD, DreamTime, LinearAnnealing, X0Reconstruction
from dream3d.nerf.radiance_fields import VoxelField
from dream3d.optimization.backgrounds import learned_color
from dream3d.optimization.build_loss import build_distillation
from dream3d.optimization.optimize import Optimization
from dream3d.optimization.view_conditioning import ViewPerpNeg
from dream3d.options import ObjectOptions, Stage

LOSSES = {"x0": X0Reconstruction, "sds": SDS, "sjc": SJC, "csd": CSD, "vsd": VSD, "ism": ISM}


@pytest.fixture(scope="module")
def model() -> ImageModel:
    torch.manual_seed(0)
    config = ImageModelConfig(
        size=16, network=UNetConfig(patch=2, widths=(32,), blocks=(1,), attention=(True,))
    )
    denoiser = config.denoiser()
    for parameter in denoiser.parameters():  # a new network predicts zeros
        parameter.data += 0.05 * torch.randn_like(parameter)
    return ImageModel(config, denoiser)


def options(**more) -> ObjectOptions:
    stage = Stage(share=1, size=16, samples=8, grid=12, guidance=3)
    return ObjectOptions(**({"iterations": 3, "views": 2, "learning_rate": 0.1, "stages": (stage,)} | more))


class RedForAnyText(nn.Module):
    """Predicts a red image for a text and a gray one for the empty text, whatever the noise."""

    def __init__(self) -> None:
        super().__init__()
        self.color = nn.Linear(1, 3, bias=False)  # VSD adapts linear layers
        self.color.weight.data = torch.tensor([[1.0], [-1.0], [-1.0]])

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        has_text = (condition.mask.sum(1, keepdim=True) > 2).to(x)  # the empty text has two tokens
        return self.color(has_text)[:, :, None, None].expand_as(x)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_built_and_moves_renders_towards_the_prediction(model: ImageModel, loss: str) -> None:
    red = ImageModel(
        model.config.model_copy(update={"clip": None}),
        Denoiser(RedForAnyText(), NoiseSchedule.cosine(), Parameterization.X0),
        model.text,
    )
    chosen = options(loss=loss, iterations=30)
    make_distillation = build_distillation(red, "a fox", chosen, seed=0)
    assert type(make_distillation(chosen.stages[0])) is LOSSES[loss]
    backgrounds = learned_color("a fox", red.encode)
    run = Optimization(VoxelField(12), make_distillation, backgrounds, chosen, image_size=16, seed=0)

    def redness() -> float:
        views = run.views.sample()
        mean = run.views.render_views(views).color.detach().mean((0, 2, 3))
        return (mean[0] - mean[1:].mean()).item()

    before = redness()
    list(run)
    assert abs(before) < 0.02  # it starts gray
    assert redness() > 0.2


@pytest.mark.parametrize(("loss", "scale"), [("sds", 3.0), ("sds", 1.0), ("csd", None)])
def test_gradients_are_the_papers_formulas_at_the_stages_guidance_scale(
    model: ImageModel, loss: str, scale: float | None
) -> None:
    """csd has no scale."""
    chosen = options(loss=loss).with_changes(guidance=scale)
    distillation = build_distillation(model, "a fox", chosen, seed=0)(chosen.stages[0])
    condition, negative = model.encode(["a fox"]), model.encode([""])
    renders = torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16).requires_grad_()
    result = distillation(renders, condition, 0.5, torch.Generator().manual_seed(4))
    (gradient,) = torch.autograd.grad(result.loss, renders)

    again = torch.Generator().manual_seed(4)
    t = LinearAnnealing(*chosen.noise).draw(1, 0.5, 1000, again)
    noise = torch.randn(renders.shape, generator=again)
    alpha, sigma = model.denoiser.schedule.alpha(t, renders), model.denoiser.schedule.sigma(t, renders)
    noised = alpha * renders.detach() + sigma * noise
    with torch.no_grad():
        cond, uncond = (model.denoiser.predict(noised, t, each).eps for each in (condition, negative))
        guided = uncond + (scale or 1) * (cond - uncond)
        guided = (
            noised - alpha * ((noised - sigma * guided) / alpha).clamp(-1, 1)
        ) / sigma  # the model's clip
    expected = {"sds": sigma**2 * (guided - noise), "csd": sigma**2 * (cond - uncond)}[loss]
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-3)


def test_with_the_camera_in_words_the_network_gets_view_texts_and_no_camera(
    model: ImageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = options(camera="words")
    make_distillation = build_distillation(model, "a fox", chosen, seed=0)
    assert isinstance(make_distillation(chosen.stages[0]).denoiser, ViewPerpNeg)
    conditions = []
    predict = type(model.denoiser).predict

    def recorded(self, x, t, condition):
        conditions.append(condition)
        return predict(self, x, t, condition)

    monkeypatch.setattr(type(model.denoiser), "predict", recorded)
    run = Optimization(
        VoxelField(12), make_distillation, learned_color("a fox", model.encode), chosen, image_size=16, seed=0
    )
    next(iter(itertools.islice(run, 1)))
    assert conditions and not any(condition.attributes[:, :5].any() for condition in conditions)
    assert len({tuple(row.flatten().tolist()[:50]) for row in conditions[0].tokens}) > 2


@pytest.mark.parametrize(
    ("chosen", "scale"), [({"loss": "sds"}, 3.0), ({"loss": "csd"}, None), ({"camera": "words"}, 1.0)]
)
def test_a_model_without_unconditional_training_needs_a_negative_prompt(
    model: ImageModel, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], scale: float | None
) -> None:
    monkeypatch.setattr(model, "config", model.config.model_copy(update={"unconditional": False}))
    with pytest.raises(UserError, match="never trained without text"):
        build_distillation(model, "a fox", options(**chosen).with_changes(guidance=scale), seed=0)
    build_distillation(
        model, "a fox", options(**chosen, negative="a bear").with_changes(guidance=scale), seed=0
    )
    build_distillation(model, "a fox", options(loss="sds").with_changes(guidance=1.0), seed=0)


def test_options_choose_timesteps_sampler_and_guidance_interval(model: ImageModel) -> None:
    plain = build_distillation(model, "a fox", options(), seed=0)(options().stages[0])
    assert isinstance(plain.timesteps, LinearAnnealing) and plain.sampler is None
    assert isinstance(plain.denoiser, ClassifierFreeGuidance)
    chosen = options(timesteps="dreamtime", sampler="unipc", guidance_interval=(0.5, 5.0))
    other = build_distillation(model, "a fox", chosen, seed=0)(chosen.stages[0])
    assert isinstance(other.timesteps, DreamTime) and other.sampler is unipc
    assert isinstance(other.denoiser, GuidanceInterval)
    assert (other.denoiser.low, other.denoiser.high) == (0.5, 5)
    with pytest.raises(UserError, match="guidance interval needs a model with a camera input"):
        build_distillation(model, "a fox", options(guidance_interval=(0, 5.0), camera="words"), seed=0)
