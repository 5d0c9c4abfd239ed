"""Diagnostics of distillation failures: empty objects, walls, saturated colors, several front faces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from dream3d.distill import ModelSpace
from dream3d.distill.contract import noise_for
from dream3d.nerf.volume_rendering import RenderedViews
from dream3d.optimization.view_conditioning import camera_condition

EMPTY, FULL = 0.01, 0.75  # mean opacity below which the object has vanished, and above which it is a wall
BORDER = 0.5  # mean opacity along the edge of the image above which the object is a wall
CLIPPED = 0.02  # a channel within this distance of 0 or 1 is saturated
MAX_CLIPPED = 0.5  # share of saturated pixels above which a warning is given
NOISE_LEVEL = 0.5  # share of T at which views are compared
NOISE_SAMPLES = 8  # per view


@dataclass(frozen=True)
class RenderDiagnostics:
    """Statistics of a batch of renders, and the warnings that follow from them."""

    coverage: float  # mean opacity
    border: float  # mean opacity of the outermost pixels
    clipped: float  # share of the object's pixels (opacity > 0.5) with a channel within 0.02 of 0 or 1

    @property
    def warnings(self) -> list[str]:
        """One sentence per problem."""
        sentences = []
        if self.coverage < EMPTY:
            sentences.append("The object has vanished.")
        if self.coverage > FULL or self.border > BORDER:
            sentences.append("The object has become a wall that fills the image.")
        if self.clipped > MAX_CLIPPED:
            sentences.append("The colors are saturated: try a smaller --guidance.")
        return sentences


@torch.no_grad()
def diagnose(render: RenderedViews) -> RenderDiagnostics:
    """Diagnostics of a batch of renders."""
    opacity = render.opacity
    edge = torch.cat([opacity[..., 0, :], opacity[..., -1, :], opacity[..., :, 0], opacity[..., :, -1]], -1)
    solid = opacity[:, 0] > 0.5
    saturated = ((render.color < CLIPPED) | (render.color > 1 - CLIPPED)).any(1) & solid
    return RenderDiagnostics(
        coverage=opacity.mean().item(),
        border=edge.mean().item(),
        clipped=(saturated.sum() / solid.sum().clamp(min=1)).item(),
    )


@torch.no_grad()
def preferred_views(
    denoiser: DenoiserLike,
    space: ModelSpace,
    renders: Tensor,
    text: Condition,
    azimuth: Tensor,
    elevation: Tensor,
    generator: torch.Generator,
    phase: float | None = None,
) -> Tensor:
    """Index (B,) of the camera under which the frozen model predicts the noise in each render best.

    Each render is noised to T/2 and denoised under each of the B azimuths; the camera with the smallest mean
    squared error of the predicted noise wins. The mean is over `NOISE_SAMPLES` samples, because the error of
    a single one depends more on the noise than on the view. A sound object gives 0, 1, 2, ...; an object with
    a face on every side gives the front several times.

    renders: (B,3,H,W) in [-1, 1], of the model's size.
    text: of length 1 or B.
    azimuth, elevation: (B,) degrees.
    phase: of the action, [0, 1), if it has one.
    """
    count = len(renders)
    x = space.to_model_space(renders)
    t = torch.full((count * count,), int(NOISE_LEVEL * denoiser.schedule.timesteps), device=x.device)
    # Row camera * count + render of a batch of all pairs.
    texts = text[torch.arange(count * count, device=x.device) % len(text)]
    condition = camera_condition(texts, azimuth.repeat_interleave(count), elevation.repeat(count), phase)
    errors = torch.zeros(count, count, device=x.device)
    for _ in range(NOISE_SAMPLES):
        noise = noise_for(x, generator)
        noised = denoiser.schedule.add_noise(x, noise, t[:count]).repeat(count, 1, 1, 1)
        predicted = denoiser(noised, t, condition).eps.unflatten(0, (count, count))
        errors += (predicted - noise).square().flatten(2).mean(2)
    return errors.argmin(0)


def count_faces(preferred: Tensor, azimuth: Tensor) -> int:
    """Number of views that the model assigns to the camera nearest to azimuth 0, the front; 1 is sound.

    preferred: (B,) from `preferred_views`; azimuth: (B,) degrees.
    """
    front = ((azimuth + 180) % 360 - 180).abs().argmin()
    return int((preferred == front).sum())
