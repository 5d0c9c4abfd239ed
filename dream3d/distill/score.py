"""Score distillation losses: SDS, SJC, CSD and ISM, with image gradients w(t) (eps^ - reference).

The loss is the sum of gradient times render with the gradient as a constant, so that backpropagation leaves
out the Jacobian of the network (Poole et al. 2022, "DreamFusion", equation 3).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from core.guidance import ClassifierFreeGuidance, broadcast_condition
from dream3d.distill.contract import DistillationResult, noise_for
from dream3d.distill.space import ModelSpace, PixelSpace
from dream3d.distill.timesteps import Timesteps

Weight = Callable[[Tensor, Tensor], Tensor]
"""Weight function: (alpha, sigma) -> w(t), all of the same shape."""


def variance(alpha: Tensor, sigma: Tensor) -> Tensor:
    """w = 1 - abar = sigma^2 (DreamFusion, section 3.2)."""
    return sigma**2


def uniform(alpha: Tensor, sigma: Tensor) -> Tensor:
    """w = 1."""
    return torch.ones_like(sigma)


def damped_variance(alpha: Tensor, sigma: Tensor) -> Tensor:
    """w = sqrt(abar) (1 - abar) (Chen et al. 2023, "Fantasia3D", section 3.2): small at high noise levels."""
    return alpha * sigma**2


class ScoreDistillation(ABC):
    """Base of score distillations: grad = w(t) direction(x, t), x the render in the model's space."""

    def __init__(
        self,
        denoiser: DenoiserLike,
        timesteps: Timesteps,
        space: ModelSpace | None = None,
        weight: Weight = variance,
    ) -> None:
        """space: `PixelSpace` by default; weight: w(t)."""
        self.denoiser = denoiser
        self.timesteps = timesteps
        self.space = space or PixelSpace()
        self.weight = weight

    def __call__(
        self, renders: Tensor, condition: Condition, progress: float, generator: torch.Generator
    ) -> DistillationResult:
        """As `Distillation.__call__`."""
        schedule = self.denoiser.schedule
        x = self.space.to_model_space(renders)
        t = self.timesteps.draw(len(x), progress, schedule.timesteps, generator).to(x.device)
        with torch.no_grad():
            direction, x0 = self.direction(x.detach(), t, condition, generator)
            gradient = self.weight(schedule.alpha(t, x), schedule.sigma(t, x)) * direction
        return DistillationResult((gradient * x).sum(), t, gradient.flatten(1).norm(dim=1), x0, self.space)

    @abstractmethod
    def direction(
        self, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Unweighted gradient and predicted x0, both like x (B,C,h,w); t: (B,)."""

    def state_dict(self) -> dict[str, Tensor]:
        """Empty: the loss has no state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Raises ValueError for a state that is not empty."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state to load, but got {sorted(state)}")


class SDS(ScoreDistillation):
    """Score distillation sampling: eps^(x_t) - eps (Poole et al. 2022, equation 3).

    It needs a guidance scale of 30 to 100 to follow a prompt. Without guidance it seeks a mode of the model's
    distribution.
    """

    def direction(
        self, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """eps^(x_t) - eps and x0^."""
        eps = noise_for(x, generator)
        predicted = self.denoiser(self.denoiser.schedule.add_noise(x, eps, t), t, condition)
        return predicted.eps - eps, predicted.x0


class SJC(ScoreDistillation):
    """Score Jacobian chaining: the perturb-and-average score (Wang et al. 2022, section 4.2).

    -score(x) = E_n[x - D(x + s n)] / s^2 at the noise level s = sigma / alpha of the variance-exploding form,
    times s as in the authors' code, which balances the noise levels. The mean is over `draws` perturbations
    of each render. With one draw this is `SDS` with weight 1, written in x0. The default weight is 1.
    """

    def __init__(
        self,
        denoiser: DenoiserLike,
        timesteps: Timesteps,
        space: ModelSpace | None = None,
        weight: Weight = uniform,
        draws: int = 1,
    ) -> None:
        """draws: perturbations of each render, at least 1; the network runs on B * draws rows."""
        if draws < 1:
            raise ValueError(f"draws must be at least 1, not {draws}")
        super().__init__(denoiser, timesteps, space, weight)
        self.draws = draws

    def direction(
        self, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """alpha / sigma (x - x0^) and x0^, the mean over the draws."""
        schedule = self.denoiser.schedule
        repeated, repeated_t = x.repeat_interleave(self.draws, dim=0), t.repeat_interleave(self.draws)
        xt = schedule.add_noise(repeated, noise_for(repeated, generator), repeated_t)
        predicted = self.denoiser(xt, repeated_t, condition.repeat_interleave(self.draws))
        x0 = predicted.x0.unflatten(0, (-1, self.draws)).mean(1)
        return schedule.alpha(t, x) / schedule.sigma(t, x) * (x - x0), x0


class CSD(ScoreDistillation):
    """Classifier score distillation: eps(x_t; y) - eps(x_t; negative), (Yu et al. 2023).

    This is the guidance term of SDS alone: the score of the implicit classifier p(y | x_t). Neither branch is
    clipped. Its x0 is that of the conditional branch.
    """

    def __init__(
        self,
        guidance: ClassifierFreeGuidance,
        timesteps: Timesteps,
        space: ModelSpace | None = None,
        weight: Weight = variance,
    ) -> None:
        """guidance: evaluates the two branches; its scale is not used."""
        super().__init__(guidance, timesteps, space, weight)
        self.guidance = guidance

    def direction(
        self, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """eps(x_t; y) - eps(x_t; negative) and the x0 of y."""
        xt = self.guidance.schedule.add_noise(x, noise_for(x, generator), t)
        negative, positive = self.guidance.branches(xt, t, condition)
        return positive.eps - negative.eps, positive.x0


class ISM(ScoreDistillation):
    """Interval score matching: eps^(x_t; y) - eps(x_s; negative) along DDIM inversion, s < t.

    Liang et al. 2023, "LucidDreamer". Deterministic DDIM inversion under the negative prompt takes the render
    to x_s and x_t without random noise, so that similar renders get similar gradients.
    """

    def __init__(
        self,
        guidance: ClassifierFreeGuidance,
        timesteps: Timesteps,
        space: ModelSpace | None = None,
        weight: Weight = variance,
        interval: float = 0.05,
        inversion_steps: int = 3,
    ) -> None:
        """interval: t - s as a share of T, in (0, 1); inversion_steps: network calls from the render to x_s.

        Raises ValueError for other intervals and for inversion_steps below 1.
        """
        if not 0 < interval < 1 or inversion_steps < 1:
            raise ValueError(
                f"ISM needs 0 < interval < 1 and inversion_steps >= 1, not {interval=}, {inversion_steps=}"
            )
        super().__init__(guidance, timesteps, space, weight)
        self.guidance = guidance
        self.interval = interval
        self.inversion_steps = inversion_steps

    def direction(
        self, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """eps^(x_t; y) - eps(x_s; negative) and the x0 of y."""
        schedule = self.guidance.schedule
        negative = broadcast_condition(self.guidance.negative, condition, self.guidance.dropped_groups)
        s = (t - max(1, round(self.interval * schedule.timesteps))).clamp(min=0)
        for here, there in pairwise(s * i // self.inversion_steps for i in range(self.inversion_steps + 1)):
            predicted = self.guidance.denoiser(x, here, negative)
            x = schedule.add_noise(predicted.x0, predicted.eps, there)
        at_s = self.guidance.denoiser(x, s, negative)
        at_t = self.guidance(schedule.add_noise(at_s.x0, at_s.eps, t), t, condition)
        return at_t.eps - at_s.eps, at_t.x0
