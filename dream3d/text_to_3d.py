"""From a prompt to the optimization of a field: what the command and the Python API share."""

from __future__ import annotations

import torch

from core.models.image_model import ImageModelLike
from dream3d.distill import make_model_space
from dream3d.nerf.cameras import orbit_cameras
from dream3d.nerf.radiance_fields import HashField, VoxelField
from dream3d.nerf.volume_rendering import render
from dream3d.optimization import diagnostics
from dream3d.optimization.backgrounds import learned_color, plain_backdrops
from dream3d.optimization.build_loss import build_distillation
from dream3d.optimization.optimize import Optimization
from dream3d.optimization.view_strategies import resize_images
from dream3d.options import ObjectOptions

PHASE = 0.0  # of the action's loop: a mesh stands still


def start_optimization(
    model: ImageModelLike, prompt: str, options: ObjectOptions, *, seed: int, bundled: bool
) -> Optimization:
    """The optimization of a field for a prompt, before its first iteration.

    options: with the model's defaults, see `ObjectOptions.with_model_defaults`.
    bundled: whether the model knows the toybox's backdrops and light.
    """
    torch.manual_seed(seed)  # the initial values of a hash grid are random
    field = HashField() if options.field == "hash" else VoxelField(options.stages[0].grid)
    backgrounds = (plain_backdrops if bundled else learned_color)(prompt, model.encode)
    return Optimization(
        field.to(model.device),
        build_distillation(model, prompt, options, seed),
        backgrounds,
        options,
        image_size=model.size,
        seed=seed,
        phase=PHASE if bundled else None,
    )


@torch.no_grad()
def count_front_views(optimization: Optimization, model: ImageModelLike) -> int | None:
    """Number of views, of four around the object, that the model takes for its front; 1 is sound.

    None for models without a camera input.
    """
    if optimization.options.camera != "input":
        return None
    views, stage = optimization.views, optimization.options.stages[-1]
    cameras = orbit_cameras(4)
    seen = render(
        optimization.field,
        cameras,
        stage.size,
        stage.samples,
        views.backgrounds.paint(0, stage.size).expand(4, -1, -1, -1),
        shader=views.backgrounds.shader(cameras),
    )
    preferred = diagnostics.preferred_views(
        model.denoiser,
        make_model_space(model.first_stage),
        resize_images(seen.color * 2 - 1, model.size),
        views.backgrounds.texts[0],
        cameras.azimuth,
        cameras.elevation,
        torch.Generator().manual_seed(0),
        views.phase,
    )
    return diagnostics.count_faces(preferred, cameras.azimuth)
