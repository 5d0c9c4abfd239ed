"""The loop of distillation: a field, seen from all sides, is led by what a frozen denoiser says of it.

optimization = Optimization(field, teacher, scenery, options, seed)
for state in optimization:
    ...  # show state.renders, save optimization.state_dict(), or break
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.condition import Condition
from dream3d.distill import Distillation
from dream3d.nerf.cameras import Cameras, Orbit, point_lights
from dream3d.nerf.occupancy_grid import OccupancyGrid
from dream3d.nerf.radiance_fields import RadianceField, VoxelField
from dream3d.nerf.volume_rendering import (
    EVERY_PIXEL,
    PixelStride,
    PointLightShader,
    RenderedViews,
    Shader,
    render,
)
from dream3d.optimization import regularizers as regularize
from dream3d.optimization.backgrounds import Backgrounds
from dream3d.optimization.view_conditioning import camera_condition
from dream3d.optimization.view_strategies import StepResult, ViewStrategy, make_view_strategy
from dream3d.options import ObjectOptions, Stage

UPDATE_OCCUPANCY_EVERY = 16  # iterations between updates of the occupancy

DistillationFactory = Callable[[Stage], Distillation]
"""What a stage learns from, fresh for every stage."""


@dataclass(frozen=True, eq=False)
class OptimizationState:
    """What one iteration saw and did."""

    iteration: int  # done, from 1 on
    iterations: int
    result: StepResult
    losses: dict[str, float]  # by name, already weighted


class Optimization:
    """Iterates over the `State`s of a run, changing `field` in place; `field` grows from stage to stage.

    Everything random comes from one generator on the CPU, so that a run that goes on from `state_dict` gives
    the same bytes as one that was never stopped.
    """

    def __init__(
        self,
        field: RadianceField,
        make_distillation: DistillationFactory,
        backgrounds: Backgrounds,
        options: ObjectOptions,
        *,
        size: int,
        seed: int,
        phase: float | None = None,
    ) -> None:
        """field: of the first stage's resolution where it is a `VoxelField`.

        size: side in pixels of the pictures that the model takes; phase: of the action, [0, 1), if it has
        one.
        """
        self.field = field
        self.make_distillation = make_distillation
        self.backgrounds = backgrounds
        self.options = options
        self.size = size
        self.phase = phase
        self.generator = torch.Generator().manual_seed(seed)
        self.orbit = Orbit(elevation=options.elevation)
        self.iteration = 0
        self._begin_stage(0, None)

    def _begin_stage(self, stage: int, before: ViewStrategy | None) -> None:
        """Makes everything that a stage has of its own; before: the last stage's lesson."""
        self.stage = stage
        grid = self.stage_options.grid
        if isinstance(self.field, VoxelField) and self.field.resolution != grid:
            self.field = self.field.refined(grid)
        self.view_strategy = make_view_strategy(
            self.make_distillation(self.stage_options), self.options.target_buffer, before
        )
        self.occupancy = OccupancyGrid(self.field, resolution=min(grid, 64))
        self.occupancy.update(self.field)
        rate = self.options.learning_rate
        parameters = [*self.field.parameters(), *self.backgrounds.learned.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.99), eps=1e-15)

    @property
    def stage_options(self) -> Stage:
        """Of the present stage."""
        return self.options.stages[self.stage]

    def stage_at(self, iteration: int) -> int:
        """The stage of an iteration, counted from 0."""
        end = 0.0
        for index, stage in enumerate(self.options.stages):
            end += stage.share * self.options.iterations
            if iteration < round(end):
                return index
        return len(self.options.stages) - 1

    def __iter__(self) -> Iterator[OptimizationState]:
        while self.iteration < self.options.iterations:
            stage = self.stage_at(self.iteration)
            if stage != self.stage:
                self._begin_stage(stage, self.view_strategy)
            yield self._step()

    def _step(self) -> OptimizationState:
        taught, weights = self.view_strategy(self), self.options.weights
        seen, samples = taught.render, taught.render.samples
        losses = {"distillation": taught.loss}
        penalties: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "sparsity": (weights.sparsity, lambda: regularize.sparsity(seen)),
            "entropy": (weights.entropy, lambda: regularize.entropy(seen)),
            "orientation": (weights.orientation, lambda: regularize.orientation(samples)),
            "smoothness": (
                weights.smoothness,
                lambda: regularize.smoothness(self.field, samples, self.generator),
            ),
            "distortion": (weights.distortion, lambda: regularize.distortion(samples)),
            "empty_space": (weights.empty_space, lambda: regularize.empty_space(self.field, self.generator)),
        }
        losses |= {name: weight * penalty() for name, (weight, penalty) in penalties.items() if weight}
        self.optimizer.zero_grad()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        self.iteration += 1
        if self.iteration % UPDATE_OCCUPANCY_EVERY == 0:
            self.occupancy.update(self.field)
        numbers = {name: loss.item() for name, loss in losses.items()}
        return OptimizationState(self.iteration, self.options.iterations, taught, numbers)

    def sample_cameras(self) -> tuple[Cameras, Tensor]:
        """New cameras, evenly around the object, and the index (N,) of what stands behind it in each."""
        drawn = self.orbit.sample(self.options.views, self.generator, evenly=True)
        behind = self.backgrounds.choose(self.generator)
        return Cameras(drawn.azimuth, drawn.elevation), torch.full((len(drawn),), behind)

    def condition(self, cameras: Cameras, background_indices: Tensor) -> Condition:
        """What the model is told of views."""
        told = self.options.camera != "unsaid"
        texts = self.backgrounds.texts[background_indices.to(self.backgrounds.texts.tokens.device)]
        condition = camera_condition(texts, cameras.azimuth, cameras.elevation, self.phase, with_camera=told)
        return condition.to(self.field.low.device)

    def render_views(
        self,
        cameras: Cameras,
        background_indices: Tensor,
        lamp: Shader | None = None,
        pixels: PixelStride = EVERY_PIXEL,
    ) -> RenderedViews:
        """The object by a lamp or by the scenery's light, in the size of the stage."""
        stage = self.stage_options
        behind_each = torch.stack(
            [self.backgrounds.paint(index, stage.size) for index in background_indices.tolist()]
        )
        return render(
            self.field,
            cameras,
            stage.size // pixels.stride,
            stage.samples,
            pixels.select(behind_each),
            generator=self.generator,
            occupancy=self.occupancy,
            shader=lamp or self._light(cameras),
            with_normals=self.options.weights.orientation > 0,
            pixels=pixels,
        )

    def sample_point_light(self, cameras: Cameras) -> PointLightShader | None:
        """DreamFusion's lamp for these cameras, or none: the light is the scenery's."""
        lighting = self.options.lighting
        if not lighting.share or self.progress < lighting.after:
            return None
        lit, bare = torch.rand(2, generator=self.generator).tolist()
        if lit >= lighting.share:
            return None
        lights = point_lights(cameras, self.generator)
        return PointLightShader(lights.to(self.field.low.device), textureless=bare < lighting.textureless)

    def _light(self, cameras: Cameras) -> Shader | None:
        """The scenery's for these cameras, once there is a surface for it to fall on."""
        return None if self.progress < self.options.lighting.after else self.backgrounds.shader(cameras)

    @property
    def progress(self) -> float:
        """Share of the iterations that is done."""
        return self.iteration / self.options.iterations

    @property
    def learning_rate(self) -> float:
        """Of the next iteration: constant, then linear to 0 over the last `decay` of the run."""
        decay = self.options.decay
        return self.options.learning_rate * (min(1.0, (1 - self.progress) / decay) if decay else 1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """All that the next iteration depends on, by names whose part before "/" says of what."""
        state = {"run/iteration": torch.tensor(self.iteration), "run/generator": self.generator.get_state()}
        parts: dict[str, Mapping[str, Tensor]] = {
            "field": self.field.state_dict(),
            "background": self.backgrounds.learned.state_dict(),
            "occupancy": self.occupancy.state_dict(),
            "lesson": self.view_strategy.state_dict(),
        }
        for number, moments in self.optimizer.state_dict()["state"].items():
            parts[f"optimizer/{number}"] = moments
        for part, tensors in parts.items():
            state |= {f"{part}/{name}": value.detach().clone() for name, value in tensors.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` gave. Raises RuntimeError or KeyError when it is of another run."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        self.iteration = int(state["run/iteration"])
        self._begin_stage(self.stage_at(max(0, self.iteration - 1)), None)
        self.field.load_state_dict(part("field/"))
        self.backgrounds.learned.load_state_dict(part("background/"))
        self.occupancy.load_state_dict(part("occupancy/"))
        self.view_strategy.load_state_dict(part("lesson/"))
        groups = self.optimizer.state_dict()["param_groups"]
        moments = {number: part(f"optimizer/{number}/") for number in groups[0]["params"]}
        moments = {number: values for number, values in moments.items() if values}
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.generator.set_state(state["run/generator"])
