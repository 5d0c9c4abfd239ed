"""`dreamlift bench dream3d`: ways of rendering and their cost, and an object by parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from core.bundled import BUNDLED
from core.io.machine import busy_time
from core.io.presets import load_preset
from core.toybox.prompts import read_prompt
from core.toybox.scenes import named_scene
from dream3d.job import ObjectJob
from dream3d.nerf.cameras import EVERY_PIXEL, orbit_cameras
from dream3d.nerf.occupancy_grid import OccupancyGrid
from dream3d.nerf.radiance_fields import SOFTPLUS_SCALE, VoxelField
from dream3d.nerf.scene_field import SceneField
from dream3d.nerf.volume_rendering import RenderedViews, make_rays, render
from dream3d.options import ImageModelReference, ObjectOptions, Stage
from dream3d.text_to_3d import finish_object, load_model, start_optimization
from dreamlift.bench.peers.marching import MORE_STEPS, STEPS, BoxRays, march_dense, march_with_importance
from dreamlift.bench.plan import Row, Settings, compare, grow, timed
from dreamlift.bench.results import OURS, Comparison, Cost, Part, Parts
from dreamlift.bench.rounds import Side
from dreamlift.bench.work import ModuleClock, count_work

SCENE = named_scene("fox", "waving")
PROMPT = "a fox"
PRESET = "dream3d/standard"
VIEWS, SIZE = 12, 32  # of an iteration of the standard preset: every other pixel of twelve views
DENSE, IMPORTANCE = "nerfacc, dense", "stable-dreamfusion's marching"
TRIAL: dict[str, Any] = {  # options of an object that is no measurement
    "iterations": 2,
    "views": 2,
    "target_buffer": {"size": 2, "refresh_every": 2, "views_per_step": 2, "pixel_stride": 2},
    "stages": [{"share": 1.0, "size": 32, "samples": 16, "grid": 24, "guidance": 2.0, "steps": 1}],
    "texture": 64,
    "faces": 500,
    "turn": 4,
}
REST = "gradients, penalties and optimizer"


def rows() -> list[Row]:
    """The rows of the suite."""
    return [
        Row("rendering with gradient", lambda settings: _rendering(settings, gradient=True)),
        Row("rendering", lambda settings: _rendering(settings, gradient=False)),
        Row("rendering by rays", _by_rays),
        Row("rendering by samples", _by_samples),
        Row("an object by parts", _object),
    ]


@torch.no_grad()
def scene_voxels(resolution: int) -> VoxelField:
    """The scene of a toybox figure in a voxel grid: its density and color at the vertices."""
    field, scene = VoxelField(resolution, blob=None), SceneField(SCENE)
    axes = [torch.linspace(float(a), float(b), resolution) for a, b in zip(*field.bounds, strict=True)]
    z, y, x = torch.meshgrid(*axes[::-1], indexing="ij")
    density, color = scene(torch.stack([x, y, z], -1).reshape(-1, 3))
    raw = torch.expm1((density / SOFTPLUS_SCALE).clamp(min=1e-3)).log()  # the inverse of softplus
    values = torch.stack([raw, *color.clamp(1e-3, 1 - 1e-3).logit().T])
    field.grid.copy_(values.view(1, 4, *(resolution,) * 3))
    return field


class Renderings:
    """Ways of rendering the same rays of one field, as functions that return colors."""

    def __init__(self, settings: Settings, views: int, size: int, samples: int) -> None:
        """views of size x size pixels, with so many samples on each ray."""
        stage = _stage()
        self.field = scene_voxels(16 if settings.quick else stage.grid).to(settings.device)
        self.samples, self.size, self.least_weight = samples, size, stage.least_weight
        self.cameras = orbit_cameras(views)
        self.occupancy = OccupancyGrid(self.field, resolution=min(self.field.resolution, 64))
        self.occupancy.update(self.field)
        self.background = torch.ones(3, device=settings.device)
        rays = make_rays(self.cameras.to(settings.device), size, EVERY_PIXEL, self.field.low.dtype)
        self.rays = BoxRays.through(self.field, rays.origins, rays.directions)
        self.generator = torch.Generator()

    def ours(self) -> Tensor:
        """As an iteration of the standard preset renders them."""
        return render(
            self.field,
            self.cameras,
            self.size,
            self.samples,
            self.background,
            generator=self.generator,
            occupancy=self.occupancy,
            least_weight=self.least_weight,
        ).color

    def dense(self) -> Tensor:
        """By nerfacc's functions, without skipping samples."""
        return march_dense(self.field, self.rays, self.samples, self.background)

    def importance(self) -> Tensor:
        """By stable-dreamfusion's way."""
        return march_with_importance(self.field, self.rays, self.background, self.generator)

    def with_gradient(self, color: Callable[[], Tensor]) -> Callable[[], None]:
        """Renders and propagates the gradient of the mean square back into the field."""

        def run() -> None:
            self.field.grid.grad = None
            color().square().mean().backward()

        return run


def _stage() -> Stage:
    """The longer stage of the standard preset."""
    return load_preset(PRESET, ObjectOptions).stages[-1]


def _rendering(settings: Settings, gradient: bool) -> Comparison:
    views, size, samples = (2, 8, 16) if settings.quick else (VIEWS, SIZE, _stage().samples)
    ways = Renderings(settings, views, size, samples)
    colors = {OURS: ways.ours}
    if settings.peers:
        colors |= {DENSE: ways.dense, IMPORTANCE: ways.importance}
    runs = {
        name: ways.with_gradient(color) if gradient else torch.no_grad()(color)
        for name, color in colors.items()
    }
    sides: dict[str, Side | None] = {name: timed(run, settings.device) for name, run in runs.items()}
    table = (
        f"Rendering of one field: {views} views of {size}x{size}, {samples} samples a ray, "
        f"{STEPS} + {MORE_STEPS} by importance"
    )
    return compare(
        table,
        f"rendering {'with' if gradient else 'without'} gradient",
        sides,
        settings.many,
        per="rendering",
        work={name: count_work(run) for name, run in runs.items()},
    )


def _by_rays(settings: Settings) -> Cost:
    sizes = (4, 8) if settings.quick else (16, 32, 64)
    runs: dict[int, Callable[[], object]] = {}
    for size in sizes:
        ways = Renderings(settings, 4, size, 16 if settings.quick else _stage().samples)
        runs[4 * size**2] = ways.with_gradient(ways.ours)
    return grow("Rendering with gradient by rays", "rays", runs, settings)


def _by_samples(settings: Settings) -> Cost:
    counts = (8, 16) if settings.quick else (16, 32, 64, 128)
    runs: dict[int, Callable[[], object]] = {}
    for samples in counts:
        ways = Renderings(settings, 4, 8 if settings.quick else SIZE, samples)
        runs[samples] = ways.with_gradient(ways.ours)
    return grow("Rendering with gradient by samples of a ray", "samples", runs, settings)


def _object(settings: Settings) -> Parts:
    """One object of the standard preset, from the text to its files; loading the weights does not count."""
    reading = read_prompt(PROMPT, 0)
    loaded = load_model(ImageModelReference(str(BUNDLED / "image"), bundled=True), settings.device)
    options = load_preset(PRESET, ObjectOptions).with_model_defaults(
        loaded.model.reads_attributes, loaded.model.first_stage is not None
    )
    if settings.quick:
        options = options.with_changes(**TRIAL)
    job = ObjectJob(PROMPT, 0, settings.folder / "fox.obj", reading)
    clock, rendered = ModuleClock(settings.device), [0.0]
    moments = [busy_time(settings.device)]
    optimization = start_optimization(loaded.model, job.text, options, seed=0, bundled=True)
    render_views = optimization.views.render_views

    def timed_rendering(*args: Any, **kwargs: Any) -> RenderedViews:
        start = busy_time(settings.device)
        views = render_views(*args, **kwargs)
        rendered[0] += busy_time(settings.device) - start
        return views

    moments.append(busy_time(settings.device))
    modules: dict[str, Iterable[nn.Module]] = {"network": [loaded.model.denoiser.network]}
    optimization.views.render_views = timed_rendering
    with clock.of(modules):
        for _ in optimization:
            pass
    moments.append(busy_time(settings.device))
    made = finish_object(optimization, loaded, job, preset="standard")
    moments.append(busy_time(settings.device))
    made.write_files(job)
    moments.append(busy_time(settings.device))
    text, optimized, meshed, written = (b - a for a, b in pairwise(moments))
    seconds = {
        "text": text,
        "network": clock.seconds["network"],
        "rendering": rendered[0],
        REST: optimized - clock.seconds["network"] - rendered[0],
        "mesh": meshed,
        "pictures and files": written,
    }
    parts = {name: Part(seconds=[value]) for name, value in seconds.items()}
    return Parts(name=f"An object, {options.iterations} iterations", per="object", parts=parts)
