"""Refinement of textures: a model that always predicts red paints the object red, with its light removed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.models.super_resolution import SuperResolution, SuperResolutionConfig
from dream3d.distill import SDS, LinearAnnealing, X0Reconstruction
from dream3d.meshing.pipeline import mesh_field
from dream3d.nerf.radiance_fields import VoxelField
from dream3d.optimization.backgrounds import Backgrounds, ToyboxLight
from dream3d.optimization.refine_texture import refine_texture, view_circle
from dream3d.optimization.view_renderer import ViewRenderer
from dream3d.options import ObjectOptions, Stage

RED = torch.tensor([0.8, -0.6, -0.6])[:, None, None]  # in [-1, 1]


class AlwaysRed(nn.Module):
    """Predicts x0 = red for every image."""

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return RED.expand_as(x)


@pytest.fixture(scope="module")
def views() -> ViewRenderer:
    stage = Stage(share=1, size=32, samples=32, grid=24, guidance=1)
    options = ObjectOptions(iterations=1, learning_rate=0.1, stages=(stage,), texture=128, faces=2000)
    texts = Condition(torch.zeros(1, 1, 4), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 10))
    backgrounds = Backgrounds(texts, lambda index, size: torch.ones(3, size, size))
    generator = torch.Generator().manual_seed(0)
    return ViewRenderer(VoxelField(24), backgrounds, options, image_size=16, generator=generator)


def test_what_the_model_predicts_is_painted_on_the_object(views: ViewRenderer) -> None:
    denoiser = Denoiser(AlwaysRed(), NoiseSchedule.cosine(), Parameterization.X0)
    timesteps = LinearAnnealing()
    config = SuperResolutionConfig(size=64, widths=(8,), blocks=(1,))
    enlarging = SuperResolution(config, config.denoiser())  # untrained: bicubic enlargement
    mesh = mesh_field(views.field, views.options).mesh
    distillation = X0Reconstruction(denoiser, timesteps)
    refined = refine_texture(mesh, views, distillation, enlarging, count=9, seed=0)
    expected = (RED[:, 0, 0].numpy() + 1) * 127.5
    painted = np.abs(refined.texture.astype(float) - expected).max(axis=2) < 3
    assert painted.mean() > 0.5 and np.abs(mesh.texture.astype(float) - expected).max(axis=2).min() > 20
    assert refine_texture(mesh, views, SDS(denoiser, timesteps), enlarging, count=9, seed=0) is mesh


class Echo(nn.Module):
    """Predicts the noised image itself."""

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return x


def test_an_optimization_that_ended_before_its_light_is_painted_as_later_ones_are(
    views: ViewRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "backgrounds", replace(views.backgrounds, light=ToyboxLight))
    denoiser = Denoiser(Echo(), NoiseSchedule.cosine(), Parameterization.X0)
    config = SuperResolutionConfig(size=64, widths=(8,), blocks=(1,))
    enlarging = SuperResolution(config, config.denoiser())
    mesh, distillation = (
        mesh_field(views.field, views.options).mesh,
        X0Reconstruction(denoiser, LinearAnnealing()),
    )
    textures = []
    for iteration in (0, 1):
        monkeypatch.setattr(views, "iteration", iteration)
        views.generator.manual_seed(0)
        textures.append(refine_texture(mesh, views, distillation, enlarging, count=3, seed=0).texture)
    assert np.array_equal(*textures)


@pytest.mark.parametrize("count", [3, 9, 16])
def test_views_surround_the_object(count: int) -> None:
    cameras = view_circle(count)
    assert len(cameras) == count and cameras.azimuth[0] == 0
    assert set(cameras.elevation.tolist()) == {10.0, 40.0}
