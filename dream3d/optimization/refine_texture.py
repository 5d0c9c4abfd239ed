"""Textures of objects beyond the image model's resolution, by its super-resolution stage."""

from __future__ import annotations

import torch

from core.models.super_resolution import SuperResolution
from dream3d.distill import Distillation, LinearAnnealing, X0Reconstruction
from dream3d.meshing.mesh import Mesh
from dream3d.meshing.texturing.projection import project_images
from dream3d.nerf.cameras import Cameras, orbit_cameras
from dream3d.optimization.view_renderer import UNSEEN, TrainingViews, ViewRenderer
from dream3d.optimization.view_strategies import resize_images

NOISE = (0.25, 0.25)  # share of T: the model corrects a render, and keeps its shape
STEPS = 4
ELEVATIONS = (10.0, 40.0)  # degrees
AT_ONCE = 2  # views that are rendered; all together take a quarter of a gigabyte


@torch.no_grad()
def refine_texture(
    mesh: Mesh,
    views: ViewRenderer,
    distillation: Distillation,
    super_resolution: SuperResolution,
    *,
    count: int,
    seed: int,
) -> Mesh:
    """The mesh with details from `count` views: the field's renders, corrected and enlarged by the models.

    distillation: of the last stage; its guided denoiser corrects the renders. One without targets leaves the
        mesh as it is.
    seed: of the noise of all views.
    """
    if not isinstance(distillation, X0Reconstruction):
        return mesh
    correction = X0Reconstruction(
        distillation.denoiser, LinearAnnealing(NOISE, NOISE), distillation.space, STEPS
    )
    cameras = view_circle(count)
    sampled = TrainingViews(cameras, torch.zeros(count, dtype=torch.int64))
    generator = torch.Generator().manual_seed(seed)
    parts = [sampled.select(numbers) for numbers in torch.arange(count).split(AT_ONCE)]
    light = views.backgrounds.shader  # also for a run that was ended before its renders were lit
    lit = [views.render_views(part, light(part.cameras), least_weight=UNSEEN).color for part in parts]
    renders = resize_images(torch.cat(lit) * 2 - 1, views.image_size)
    corrected = correction.target(renders, views.condition(sampled), 1.0, generator).images.clamp(-1, 1)
    images = super_resolution.sample(corrected, [seed] * count)
    return project_images(mesh, (images + 1) / 2, cameras, light(cameras))


def view_circle(count: int) -> Cameras:
    """Cameras around the object: two thirds near the horizon, the first in front, the others from above."""
    low = count - count // 3
    circles = [
        orbit_cameras(number, elevation)
        for number, elevation in zip((low, count - low), ELEVATIONS, strict=True)
    ]
    return Cameras(
        torch.cat([circle.azimuth for circle in circles]), torch.cat([circle.elevation for circle in circles])
    )
