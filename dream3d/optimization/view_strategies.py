"""What one iteration looks at and learns: views asked about afresh, or some of a pool of targets.

With `FreshViews` the frozen model is asked about the renders of every iteration, as score distillation must.

A `TargetPool` keeps pictures that the x0 form has made of earlier renders and learns from some pixels of many
of them; now and then new ones take the place of the oldest. So the field fits all sides at once instead of
chasing the last few, and the model is asked a sixth as often (the dataset update of Haque et al. 2023,
"Instruct-NeRF2NeRF", with a view from anywhere in place of a photograph).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dream3d.distill import Distillation, X0Reconstruction
from dream3d.nerf.cameras import Cameras
from dream3d.nerf.volume_rendering import PixelStride, RenderedViews
from dream3d.options import TargetBufferOptions

if TYPE_CHECKING:
    from dream3d.optimization.optimize import Optimization


@dataclass(frozen=True, eq=False)
class StepResult:
    """What an iteration saw and how far that was from what it should have seen."""

    render: RenderedViews
    loss: Tensor  # (), a mean over the numbers of the pictures
    renders: Tensor  # (N,3,H,W) in [-1, 1], renders to show
    targets: Callable[[], Tensor]  # the same as the model would have them; may run a decoder


class ViewStrategy(Protocol):
    """How the loss of a stage's iterations comes about."""

    def __call__(self, run: Optimization) -> StepResult: ...

    def state_dict(self) -> dict[str, Tensor]:
        """All that the next call depends on beside the run, for checkpoints."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None: ...


class FreshViews:
    """New views in every iteration, on which the distillation has its say. A `Lesson`."""

    def __init__(self, distillation: Distillation) -> None:
        self.distillation = distillation

    def __call__(self, run: Optimization) -> StepResult:
        cameras, behind = run.sample_cameras()
        render = run.render_views(cameras, behind, run.sample_point_light(cameras))
        pictures = resize_images(render.color * 2 - 1, run.size)
        said = self.distillation(pictures, run.condition(cameras, behind), run.progress, run.generator)
        return StepResult(render, said.loss / pictures.numel(), pictures.detach(), said.to_images)

    def state_dict(self) -> dict[str, Tensor]:
        return self.distillation.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.distillation.load_state_dict(state)


class TargetBuffer:
    """Targets from all sides, learned from in turns, the oldest renewed now and then. A `Lesson`."""

    def __init__(
        self,
        distillation: X0Reconstruction,
        options: TargetBufferOptions,
        previous: TargetBuffer | None = None,
    ) -> None:
        """before: the pool of an earlier stage, whose targets stay."""
        self.distillation = distillation
        self.options = options
        self.oldest = previous.oldest if previous else 0  # which target is to be replaced next
        # Rows of cameras, of what is behind them, of pictures.
        self.buffer: dict[str, Tensor] = previous.buffer if previous else {}

    def __call__(self, run: Optimization) -> StepResult:
        options, generator = self.options, run.generator
        if not self.buffer or run.iteration % options.refresh_every == 0:
            self._renew(run)
        taken = torch.randperm(options.size, generator=generator)[: options.views_per_step]
        row, column = torch.randint(options.pixel_stride, (2,), generator=generator).tolist()
        lattice = PixelStride(options.pixel_stride, row, column)
        cameras = Cameras(self.buffer["azimuth"][taken], self.buffer["elevation"][taken])
        render = run.render_views(cameras, self.buffer["behind"][taken], pixels=lattice)
        target = resize_images(self.buffer["target"][taken], run.stage_options.size)
        loss = F.mse_loss(render.color * 2 - 1, lattice.select(target))
        latest = (self.oldest - 1 - torch.arange(run.options.views)) % options.size
        wanted = self.buffer["target"][latest]
        return StepResult(render, loss, self.buffer["seen"][latest], lambda: wanted)

    @torch.no_grad()
    def _renew(self, run: Optimization) -> None:
        """Puts new targets in the place of the oldest; of all, where there are none yet."""
        count = run.options.views
        drawn = [self._draw(run) for _ in range(1 if self.buffer else self.options.size // count)]
        rows = {name: torch.cat([part[name] for part in drawn]) for name in drawn[0]}
        if not self.buffer:
            self.buffer = rows
            return
        place = slice(self.oldest, self.oldest + count)
        for name, values in rows.items():
            self.buffer[name][place] = values
        self.oldest = (self.oldest + count) % self.options.size

    def _draw(self, run: Optimization) -> dict[str, Tensor]:
        cameras, behind = run.sample_cameras()
        seen = resize_images(run.render_views(cameras, behind).color * 2 - 1, run.size)
        condition = run.condition(cameras, behind)
        target = self.distillation.target(seen, condition, run.progress, run.generator)
        return {
            "azimuth": cameras.azimuth,
            "elevation": cameras.elevation,
            "behind": behind,
            "seen": seen,
            "target": target.images,
        }

    def state_dict(self) -> dict[str, Tensor]:
        return {**self.buffer, "oldest": torch.tensor(self.oldest)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.oldest = int(state["oldest"])
        self.buffer = {name: value.clone() for name, value in state.items() if name != "oldest"}


def make_view_strategy(
    distillation: Distillation, buffer: TargetBufferOptions | None, previous: ViewStrategy | None
) -> ViewStrategy:
    """A stage's lesson; before: the last stage's.

    Raises ValueError for a pool of anything but the x0 form's targets.
    """
    if not buffer:
        return FreshViews(distillation)
    if not isinstance(distillation, X0Reconstruction):
        raise ValueError("a pool is for targets, which only the x0 form has")
    return TargetBuffer(distillation, buffer, previous if isinstance(previous, TargetBuffer) else None)


def resize_images(pictures: Tensor, size: int) -> Tensor:
    """Pictures (N,3,H,W) at `size` pixels, bilinear; themselves where they have that size already."""
    if pictures.shape[-1] == size:
        return pictures
    return F.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True)
