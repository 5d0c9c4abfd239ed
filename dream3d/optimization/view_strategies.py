"""View strategies: the views that an iteration renders, and the loss of their renders.

`FreshViews` samples new views in every iteration and calls the frozen model on each, as score distillation
requires. `TargetBuffer` stores targets of the x0 loss, fits some pixels of many of them in each iteration,
and replaces the oldest every few iterations. The field then fits all sides at once instead of the last few
views, and the model is called a sixth as often (the dataset update of Haque et al. 2023,
"Instruct-NeRF2NeRF").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dream3d.distill import Distillation, X0Reconstruction
from dream3d.nerf.cameras import Cameras, PixelStride
from dream3d.nerf.volume_rendering import RenderedViews
from dream3d.optimization.view_renderer import TrainingViews, ViewRenderer
from dream3d.options import TargetBufferOptions

IMAGES = {"seen", "target"}  # of a target buffer; its other tensors are on the CPU


@dataclass(frozen=True, eq=False)
class StepResult:
    """Loss and renders of one iteration."""

    render: RenderedViews
    loss: Tensor  # (), a mean over pixels and channels
    renders: Tensor  # (N,3,H,W) in [-1, 1], renders to show
    targets: Callable[[], Tensor]  # the model's predictions for `renders`, same shape; may run a decoder


class ViewStrategy(Protocol):
    """Makes the loss of an iteration from rendered views."""

    def __call__(self, views: ViewRenderer) -> StepResult:
        """Loss and renders of one iteration."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors that the next call depends on, for checkpoints; the renderer stores its own."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores `state_dict`."""
        ...


class FreshViews:
    """Samples new views every iteration and applies the distillation loss to their renders."""

    def __init__(self, distillation: Distillation) -> None:
        """distillation: loss of the rendered images."""
        self.distillation = distillation

    def __call__(self, views: ViewRenderer) -> StepResult:
        """As `ViewStrategy`."""
        sampled = views.sample()
        render = views.render_views(sampled, views.sample_point_light(sampled.cameras))
        images = resize_images(render.color * 2 - 1, views.image_size)
        result = self.distillation(images, views.condition(sampled), views.progress, views.generator)
        return StepResult(render, result.loss / images.numel(), images.detach(), result.to_images)

    def state_dict(self) -> dict[str, Tensor]:
        """The distillation's state."""
        return self.distillation.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores `state_dict`."""
        self.distillation.load_state_dict(state)


ROWS = ("azimuth", "elevation", "behind", "seen", "target")  # columns of a `TargetBuffer`


class TargetBuffer:
    """Fits stored targets, a random subset of views and pixels per iteration; the oldest are replaced."""

    def __init__(
        self,
        distillation: X0Reconstruction,
        options: TargetBufferOptions,
        previous: TargetBuffer | None = None,
    ) -> None:
        """previous: the buffer of the previous stage, whose targets are taken over."""
        self.distillation = distillation
        self.options = options
        self.oldest = previous.oldest if previous else 0  # index of the next target to replace
        # One row per target: azimuth, elevation, behind (background index), seen (render), target (x0).
        self.buffer: dict[str, Tensor] = previous.buffer if previous else {}

    def __call__(self, views: ViewRenderer) -> StepResult:
        """As `ViewStrategy`."""
        options, generator = self.options, views.generator
        self._move_images(views.field.low.device)
        if not self.buffer or views.iteration % options.refresh_every == 0:
            self._refresh(views)
        chosen = torch.randperm(options.size, generator=generator)[: options.views_per_step]
        row, column = torch.randint(options.pixel_stride, (2,), generator=generator).tolist()
        pixels = PixelStride(options.pixel_stride, row, column)
        stored = self._stored_views().select(chosen)
        render = views.render_views(stored, pixels=pixels, least_weight=views.stage.least_weight)
        target = resize_images(self.buffer["target"][chosen], views.stage.size)
        loss = F.mse_loss(render.color * 2 - 1, pixels.select(target))
        latest = (self.oldest - 1 - torch.arange(views.options.views)) % options.size
        targets = self.buffer["target"][latest]
        return StepResult(render, loss, self.buffer["seen"][latest], lambda: targets)

    def _move_images(self, device: torch.device) -> None:
        """Moves the images to the device of the renders: those of a checkpoint come from the CPU."""
        for name in IMAGES & self.buffer.keys():
            self.buffer[name] = self.buffer[name].to(device)

    def _stored_views(self) -> TrainingViews:
        """Views of all stored targets."""
        cameras = Cameras(self.buffer["azimuth"], self.buffer["elevation"])
        return TrainingViews(cameras, self.buffer["behind"])

    @torch.no_grad()
    def _refresh(self, views: ViewRenderer) -> None:
        """Replaces the oldest targets; fills the buffer if it is empty."""
        count = views.options.views
        batches = [self._make_targets(views) for _ in range(1 if self.buffer else self.options.size // count)]
        rows = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
        if not self.buffer:
            self.buffer = rows
            return
        place = slice(self.oldest, self.oldest + count)
        for name, values in rows.items():
            self.buffer[name][place] = values
        self.oldest = (self.oldest + count) % self.options.size

    def _make_targets(self, views: ViewRenderer) -> dict[str, Tensor]:
        """Rows of the buffer for one batch of new views."""
        sampled = views.sample()
        # Of every sample: without those below `UNSEEN`, thin parts of some objects were lost.
        renders = resize_images(views.render_views(sampled).color * 2 - 1, views.image_size)
        condition = views.condition(sampled)
        target = self.distillation.target(renders, condition, views.progress, views.generator)
        return {
            "azimuth": sampled.cameras.azimuth,
            "elevation": sampled.cameras.elevation,
            "behind": sampled.background_indices,
            "seen": renders,
            "target": target.images,
        }

    def state_dict(self) -> dict[str, Tensor]:
        """The buffer and the index of its oldest target."""
        return {**self.buffer, "oldest": torch.tensor(self.oldest)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores `state_dict`. Raises ValueError for a state that is not of such a buffer."""
        if other := sorted({*ROWS, "oldest"} ^ state.keys()):
            raise ValueError(f"view_strategy/{other[0]} is missing or not needed")
        if {state[name].shape[:1] for name in ROWS} != {(self.options.size,)}:
            raise ValueError(f"its stored targets are not {self.options.size}")
        if state["seen"].shape != state["target"].shape or state["seen"].ndim != 4:
            raise ValueError("its stored targets have other sizes than their renders")
        if state["oldest"].ndim or not 0 <= state["oldest"] < self.options.size:
            raise ValueError("the oldest of its stored targets is none of them")
        self.oldest = int(state["oldest"])
        self.buffer = {name: state[name].clone() for name in ROWS}


def make_view_strategy(
    distillation: Distillation, buffer: TargetBufferOptions | None, previous: ViewStrategy | None
) -> ViewStrategy:
    """The view strategy of a stage: `TargetBuffer` if `buffer` is given, else `FreshViews`.

    previous: the strategy of the previous stage, whose targets are taken over.
    Raises ValueError for a target buffer with any loss but x0, the only one with targets.
    """
    if not buffer:
        return FreshViews(distillation)
    if not isinstance(distillation, X0Reconstruction):
        raise ValueError("a target buffer needs targets, which only the x0 loss has")
    return TargetBuffer(distillation, buffer, previous if isinstance(previous, TargetBuffer) else None)


def resize_images(images: Tensor, size: int) -> Tensor:
    """Square images (N,3,H,H) resized to `size` pixels, bilinear with antialiasing."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
