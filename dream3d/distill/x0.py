"""The x0 form of score distillation: squared error from predicted images, in one step or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from core.samplers import SamplerState
from dream3d.distill.contract import DistillationResult, noise_for
from dream3d.distill.space import ModelSpace, PixelSpace
from dream3d.distill.timesteps import Timesteps

Sampler = Callable[..., Iterator[SamplerState]]
"""A sampler of `core.samplers`: (denoiser, x, condition, timesteps=...)."""


class Target(NamedTuple):
    """Predicted images for B renders."""

    images: Tensor  # (B,3,H,W) in [-1, 1]
    x0: Tensor  # (B,C,h,w) the images in the model's space
    t: Tensor  # (B,) timesteps to which the renders were noised


class X0Reconstruction:
    """Squared error |render - x0^|^2 in pixels, x0^ a constant (Shi et al. 2023, "MVDream").

    x0^ is predicted from the noised render in one step (steps = 1), or by `steps` equally spaced DDIM steps
    from t to clean data, which gives sharper images at a higher cost. Near t = T, x0^ is a sample that is
    independent of the render; at lower t it is a corrected render (SDEdit, Meng et al. 2022).
    """

    def __init__(
        self,
        denoiser: DenoiserLike,
        timesteps: Timesteps,
        space: ModelSpace | None = None,
        steps: int = 1,
        sampler: Sampler | None = None,
    ) -> None:
        """space: `PixelSpace` by default; steps: at least 1, else ValueError.

        sampler: a deterministic one of `core.samplers`, in place of DDIM. It runs once per row, since rows
            have timesteps of their own.
        """
        if steps < 1:
            raise ValueError(f"the x0 loss needs at least 1 step, not {steps=}")
        self.denoiser = denoiser
        self.timesteps = timesteps
        self.space = space or PixelSpace()
        self.steps = steps
        self.sampler = sampler

    def __call__(
        self, renders: Tensor, condition: Condition, progress: float, generator: torch.Generator
    ) -> DistillationResult:
        """As `Distillation.__call__`."""
        target = self.target(renders, condition, progress, generator)
        error = renders - target.images
        norm = 2 * error.detach().flatten(1).norm(dim=1)
        return DistillationResult(error.square().sum(), target.t, norm, target.x0, self.space)

    @torch.no_grad()
    def target(
        self, renders: Tensor, condition: Condition, progress: float, generator: torch.Generator
    ) -> Target:
        """The denoiser's predictions for renders; arguments as for `Distillation.__call__`."""
        schedule = self.denoiser.schedule
        x = self.space.to_model_space(renders)
        t = self.timesteps.draw(len(x), progress, schedule.timesteps, generator).to(x.device)
        x = schedule.add_noise(x, noise_for(x, generator), t)
        levels = [t * (self.steps - i) // self.steps for i in range(self.steps)]
        if self.sampler:
            paths = torch.stack(levels, dim=1).tolist()
            x = torch.cat([self._sample(x[i : i + 1], condition[i], path) for i, path in enumerate(paths)])
            return Target(self.space.from_model_space(x), x, t)
        for here, there in zip(levels, [*levels[1:], torch.full_like(t, -1)], strict=True):
            predicted = self.denoiser(x, here, condition)
            x = schedule.add_noise(predicted.x0, predicted.eps, there)
        return Target(self.space.from_model_space(x), x, t)

    def _sample(self, x: Tensor, condition: Condition, timesteps: list[int]) -> Tensor:
        """Clean data (1,...) of one row by the sampler; equal timesteps of few levels count once."""
        assert self.sampler is not None
        *_, state = self.sampler(self.denoiser, x, condition, timesteps=sorted({*timesteps}, reverse=True))
        return state.x

    def state_dict(self) -> dict[str, Tensor]:
        """Empty: the loss has no state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Raises ValueError for a state that is not empty."""
        if state:
            raise ValueError(f"X0Reconstruction has no state to load, but got {sorted(state)}")
