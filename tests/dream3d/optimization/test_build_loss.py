"""What stages learn from: every loss, and a camera said as numbers, in words or not at all."""

import itertools

import pytest
import torch

from core.errors import UserError
from core.models.image_model import ImageModel, ImageModelConfig
from core.nn.unet import UNetConfig
from dream3d.distill import CSD, ISM, SDS, SJC, VSD, X0Reconstruction
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
    for parameter in denoiser.parameters():  # a fresh network says nothing
        parameter.data += 0.05 * torch.randn_like(parameter)
    return ImageModel(config, denoiser)


def options(**more) -> ObjectOptions:
    stage = Stage(share=1, size=16, samples=8, grid=12, guidance=3)
    return ObjectOptions(iterations=3, views=2, learning_rate=0.1, stages=(stage,), **more)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_made_and_leads_somewhere(model: ImageModel, loss: str) -> None:
    chosen = options(loss=loss)
    teacher = build_distillation(model, "a fox", chosen, seed=0)
    assert type(teacher(chosen.stages[0])) is LOSSES[loss]
    run = Optimization(VoxelField(12), teacher, learned_color("a fox", model.encode), chosen, size=16, seed=0)
    before = [parameter.detach().clone() for parameter in run.field.parameters()]
    losses = [state.losses["distillation"] for state in run]
    assert all(map(torch.isfinite, map(torch.tensor, losses)))
    assert any(not torch.equal(a, b) for a, b in zip(before, run.field.parameters(), strict=True))


def test_in_words_the_network_hears_the_side_and_no_number(
    model: ImageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = options(camera="words")
    teacher = build_distillation(model, "a fox", chosen, seed=0)
    assert isinstance(teacher(chosen.stages[0]).denoiser, ViewPerpNeg)
    heard = []
    predict = type(model.denoiser).predict
    monkeypatch.setattr(
        type(model.denoiser), "predict", lambda self, x, t, c: (heard.append(c), predict(self, x, t, c))[1]
    )
    run = Optimization(VoxelField(12), teacher, learned_color("a fox", model.encode), chosen, size=16, seed=0)
    next(iter(itertools.islice(run, 1)))
    assert heard and not any(condition.attributes[:, :5].any() for condition in heard)
    assert len({tuple(row.flatten().tolist()[:50]) for row in heard[0].tokens}) > 2


@pytest.mark.parametrize(
    ("chosen", "scale"), [({"loss": "sds"}, 3.0), ({"loss": "csd"}, 1.0), ({"camera": "words"}, 1.0)]
)
def test_a_model_never_trained_without_text_needs_a_negative(
    model: ImageModel, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], scale: float
) -> None:
    monkeypatch.setattr(model, "config", model.config.model_copy(update={"unconditional": False}))
    with pytest.raises(UserError, match="never trained without text"):
        build_distillation(model, "a fox", options(**chosen).with_changes(guidance=scale), seed=0)
    build_distillation(
        model, "a fox", options(**chosen, negative="a bear").with_changes(guidance=scale), seed=0
    )
    build_distillation(model, "a fox", options(loss="sds").with_changes(guidance=1.0), seed=0)
