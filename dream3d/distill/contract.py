"""The interface of all distillation losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from core.condition import Condition
from dream3d.distill.space import ModelSpace


@dataclass(frozen=True, eq=False)
class DistillationResult:
    """Loss and diagnostics of one distillation step on a batch of renders."""

    loss: Tensor
    """() to be minimized: a sum over rows, so that the gradient of a row does not depend on the others."""
    t: Tensor
    """(B,) timesteps at which the denoiser was evaluated."""
    gradient_norm: Tensor
    """(B,) norm of the loss's gradient in the model's space, or in pixels for `X0Reconstruction`."""
    x0: Tensor
    """(B,C,h,w) predicted clean data in the model's space."""
    space: ModelSpace
    """Converts `x0` to images."""

    def to_images(self) -> Tensor:
        """The predicted x0 as images (B,3,H,W) in [-1, 1]; latents are decoded."""
        return self.space.from_model_space(self.x0).clamp(-1, 1)


class Distillation(Protocol):
    """Score-distillation loss of rendered views under a frozen denoiser."""

    def __call__(
        self, renders: Tensor, condition: Condition, progress: float, generator: torch.Generator
    ) -> DistillationResult:
        """Loss whose gradient with respect to the renders is the distillation's image gradient.

        renders: (B,3,H,W) in [-1, 1], with gradient.
        condition: of length B, for the denoiser.
        progress: completed share of the run, [0, 1].
        generator: of timesteps and noise; the same state gives the same bytes.
        """
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors that the next call depends on besides its arguments, for checkpoints."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores `state_dict` exactly."""
        ...


def noise_for(x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise of x's shape, dtype and device, sampled on the generator's device."""
    return torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype).to(x.device)
