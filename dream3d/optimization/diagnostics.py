"""What goes wrong in distillation, named while it happens: collapse, walls, saturation, faces all round."""

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

EMPTY, FULL = 0.01, 0.75  # mean opacity of pictures with nothing in them, or with nothing but it
BORDER = 0.5  # mean opacity along the picture's edge that only a wall has
CLIPPED, MUCH = 0.02, 0.5  # how near an end of the range a color is lost, and which share of them is trouble
ASKED_AT = 0.5  # share of T at which views are compared
DRAWS = 8  # of the noise


@dataclass(frozen=True)
class RenderDiagnostics:
    """Numbers about a batch of renders, and the trouble that they mean."""

    coverage: float  # mean opacity
    border: float  # mean opacity of the outermost pixels
    clipped: float  # share of the figure's pixels with a channel next to 0 or 1

    @property
    def warnings(self) -> list[str]:
        """One sentence for each thing that is wrong."""
        said = []
        if self.coverage < EMPTY:
            said.append("The object has vanished.")
        if self.coverage > FULL or self.border > BORDER:
            said.append("The object has become a wall that fills the picture.")
        if self.clipped > MUCH:
            said.append("The colors are saturated: try a smaller --guidance.")
        return said


@torch.no_grad()
def diagnose(render: RenderedViews) -> RenderDiagnostics:
    """Of one batch of renders."""
    opacity = render.opacity
    edge = torch.cat([opacity[..., 0, :], opacity[..., -1, :], opacity[..., :, 0], opacity[..., :, -1]], -1)
    solid = opacity[:, 0] > 0.5
    lost = ((render.color < CLIPPED) | (render.color > 1 - CLIPPED)).any(1) & solid
    return RenderDiagnostics(
        coverage=opacity.mean().item(),
        border=edge.mean().item(),
        clipped=(lost.sum() / solid.sum().clamp(min=1)).item(),
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
    """Which of the views' cameras the frozen model itself would give each render: indices (B,).

    Every render is noised to T/2 and denoised as if seen from each of the B azimuths; it belongs to the
    camera under which the model predicts the noise best, in the mean over `DRAWS` draws of it: one alone
    says more about itself than about the view. A sound object gives 0, 1, 2, ...; one with a face
    on every side gives the front several times.

    renders: (B,3,H,W) in [-1, 1], of the model's size; text: of length 1 or B; azimuth, elevation: (B,).
    """
    count = len(renders)
    x = space.to_model_space(renders)
    t = torch.full((count,), int(ASKED_AT * denoiser.schedule.timesteps), device=x.device)
    errors = torch.zeros(count, count, device=x.device)
    for _ in range(DRAWS):
        noise = noise_for(x, generator)
        noised = denoiser.schedule.add_noise(x, noise, t)
        for camera, said in enumerate(azimuth):
            condition = camera_condition(text, said.expand(count), elevation, phase)
            predicted = denoiser(noised, t, condition).eps
            errors[:, camera] += (predicted - noise).square().flatten(1).mean(1)
    return errors.argmin(1)


def count_faces(preferred: Tensor, azimuth: Tensor) -> int:
    """How many views the model gives the camera nearest to azimuth 0, the front. One is sound.

    preferred: of `preferred_views`; azimuth: (B,) degrees.
    """
    front = ((azimuth + 180) % 360 - 180).abs().argmin()
    return int((preferred == front).sum())
