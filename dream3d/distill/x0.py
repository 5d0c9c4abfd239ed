"""Distillation towards predicted pictures: the x0 form, in one step or several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from dream3d.distill.contract import DistillationResult, noise_for
from dream3d.distill.space import ModelSpace, PixelSpace
from dream3d.distill.timesteps import Timesteps


class Target(NamedTuple):
    """What B renders should have looked like."""

    images: Tensor  # (B,3,H,W) in [-1, 1]
    x0: Tensor  # (B,C,h,w) the same in the model's space
    t: Tensor  # (B,) the timesteps that were asked at


class X0Reconstruction:
    """loss = |render - x0^|^2 in pixels, x0^ a constant (Shi et al. 2023, "MVDream"). A `Distillation`.

    x0^ is what the denoiser makes of the noised render: at once (steps = 1), or by `steps` DDIM steps from t
    down to clean data at equal distances, sharper and dearer. From almost all noise that is a sample which
    the render has no part in; from less it is the render, corrected (SDEdit, Meng et al. 2022).
    """

    def __init__(
        self,
        denoiser: DenoiserLike,
        timesteps: Timesteps,
        space: ModelSpace | None = None,
        steps: int = 1,
    ) -> None:
        """space: pixels unless given; steps: at least 1."""
        if steps < 1:
            raise ValueError(f"X0 cannot have {steps=}")
        self.denoiser = denoiser
        self.timesteps = timesteps
        self.space = space or PixelSpace()
        self.steps = steps

    def __call__(
        self, renders: Tensor, condition: Condition, progress: float, generator: torch.Generator
    ) -> DistillationResult:
        """As `Distillation.__call__`."""
        target = self.target(renders, condition, progress, generator)
        away = renders - target.images
        norm = 2 * away.detach().flatten(1).norm(dim=1)
        return DistillationResult(away.square().sum(), target.t, norm, target.x0, self.space)

    @torch.no_grad()
    def target(
        self, renders: Tensor, condition: Condition, progress: float, generator: torch.Generator
    ) -> Target:
        """What the denoiser makes of renders; arguments as of `Distillation.__call__`."""
        schedule = self.denoiser.schedule
        x = self.space.to_model_space(renders)
        t = self.timesteps.draw(len(x), progress, schedule.timesteps, generator).to(x.device)
        x = schedule.add_noise(x, noise_for(x, generator), t)
        path = [t * (self.steps - i) // self.steps for i in range(self.steps)]
        for here, there in zip(path, [*path[1:], torch.full_like(t, -1)], strict=True):
            predicted = self.denoiser(x, here, condition)
            x = schedule.add_noise(predicted.x0, predicted.eps, there)
        return Target(self.space.from_model_space(x), x, t)

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        if state:
            raise ValueError(f"X0 keeps no state, but was given {sorted(state)}")
