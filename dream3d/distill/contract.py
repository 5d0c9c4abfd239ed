"""What every distillation takes and gives."""

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
    """What a batch of renders was told."""

    loss: Tensor
    """() to be minimized: a sum over all rows, so that a row's gradient does not depend on the others."""
    t: Tensor
    """(B,) the timesteps that were asked at."""
    gradient_norm: Tensor
    """(B,) of the loss's gradient, where the loss acts: in the model's space, or in pixels for `X0`."""
    x0: Tensor
    """(B,C,h,w) the predicted clean data, in the model's space."""
    space: ModelSpace

    def to_images(self) -> Tensor:
        """The predicted x0 as pictures (B,3,H,W) in [-1, 1]; for latents this runs the decoder."""
        return self.space.from_model_space(self.x0).clamp(-1, 1)


class Distillation(Protocol):
    """Turns a frozen denoiser's opinion of renders into a loss."""

    def __call__(
        self, renders: Tensor, condition: Condition, progress: float, generator: torch.Generator
    ) -> DistillationResult:
        """The loss whose gradient with respect to the renders is the distillation's image gradient.

        renders: (B,3,H,W) in [-1, 1], with gradient.
        condition: of length B, as the denoiser takes it.
        progress: share of the run that is done, [0, 1].
        generator: gives timesteps and noise; the same state gives the same bytes.
        """
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """All that the next call depends on and that does not come with it, for checkpoints."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` gave, exactly."""
        ...


def noise_for(x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise like x, drawn on the generator's device."""
    return torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype).to(x.device)
