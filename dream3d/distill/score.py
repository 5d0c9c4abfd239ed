"""Score distillation: image gradients w(t) (eps^ - a reference), and nothing else.

The loss is a sum of gradient times render, the gradient taken as a constant, so that backpropagation leaves
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
"""(alpha, sigma) -> w(t), all of one shape."""


def variance(alpha: Tensor, sigma: Tensor) -> Tensor:
    """w = 1 - abar = sigma^2 (DreamFusion, section 3.2)."""
    return sigma**2


def uniform(alpha: Tensor, sigma: Tensor) -> Tensor:
    """w = 1."""
    return torch.ones_like(sigma)


def damped_variance(alpha: Tensor, sigma: Tensor) -> Tensor:
    """w = sqrt(abar) (1 - abar) (Chen et al. 2023, "Fantasia3D", section 3.2): less at the noisy end."""
    return alpha * sigma**2


class ScoreDistillation(ABC):
    """grad = w(t) direction(x, t), x being the render in the model's space. A `Distillation`."""

    def __init__(
        self,
        denoiser: DenoiserLike,
        timesteps: Timesteps,
        space: ModelSpace | None = None,
        weight: Weight = variance,
    ) -> None:
        """space: pixels unless given."""
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
        """The unweighted gradient and the predicted x0, both like x (B,C,h,w); t: (B,)."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, but was given {sorted(state)}")


class SDS(ScoreDistillation):
    """Score distillation sampling: eps^(x_t) - eps (Poole et al. 2022, equation 3).

    With guidance of scale 30 to 100 for what the render should show; with none it looks for a mode of the
    model's images as they come.
    """

    def direction(
        self, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        eps = noise_for(x, generator)
        predicted = self.denoiser(self.denoiser.schedule.add_noise(x, eps, t), t, condition)
        return predicted.eps - eps, predicted.x0


class SJC(ScoreDistillation):
    """Score Jacobian chaining: the perturb-and-average score (Wang et al. 2022, section 4.2).

    -score(x) = E_n[x - D(x + s n)] / s^2 at the noise level s = sigma / alpha of the variance-exploding form,
    times s as in the authors' program, which keeps all levels in proportion. The mean is over `draws`
    perturbations of each render. With one draw this is `SDS` of weight 1, written in x0; its own weight is 1
    unless given.
    """

    def __init__(
        self,
        denoiser: DenoiserLike,
        timesteps: Timesteps,
        space: ModelSpace | None = None,
        weight: Weight = uniform,
        draws: int = 1,
    ) -> None:
        """draws: at least 1; the network runs on B * draws rows."""
        if draws < 1:
            raise ValueError(f"draws must be at least 1, not {draws}")
        super().__init__(denoiser, timesteps, space, weight)
        self.draws = draws

    def direction(
        self, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        schedule = self.denoiser.schedule
        drawn, drawn_t = x.repeat_interleave(self.draws, dim=0), t.repeat_interleave(self.draws)
        xt = schedule.add_noise(drawn, noise_for(drawn, generator), drawn_t)
        predicted = self.denoiser(xt, drawn_t, condition.repeat_interleave(self.draws))
        x0 = predicted.x0.unflatten(0, (-1, self.draws)).mean(1)
        return schedule.alpha(t, x) / schedule.sigma(t, x) * (x - x0), x0


class CSD(ScoreDistillation):
    """Classifier score distillation: eps(x_t; y) - eps(x_t; negative), (Yu et al. 2023).

    The part of SDS that grows with guidance, alone: the score of the implicit classifier p(y | x_t), neither
    branch clipped. Its x0 is the condition's own.
    """

    def __init__(
        self,
        guidance: ClassifierFreeGuidance,
        timesteps: Timesteps,
        space: ModelSpace | None = None,
        weight: Weight = variance,
    ) -> None:
        """guidance: gives the two branches; its scale does not matter."""
        super().__init__(guidance, timesteps, space, weight)
        self.guidance = guidance

    def direction(
        self, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        xt = self.guidance.schedule.add_noise(x, noise_for(x, generator), t)
        away, towards = self.guidance.branches(xt, t, condition)
        return towards.eps - away.eps, towards.x0


class ISM(ScoreDistillation):
    """Interval score matching: eps^(x_t; y) - eps(x_s; negative) along DDIM inversion, s < t.

    Liang et al. 2023, "LucidDreamer". x_s and x_t are reached from the render by deterministic inversion
    under the negative text, without any noise, so that renders alike are told the same.
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
        """interval: t - s as a share of T; inversion_steps: network calls from the render to x_s."""
        if not 0 < interval < 1 or inversion_steps < 1:
            raise ValueError(f"ISM cannot have {interval=}, {inversion_steps=}")
        super().__init__(guidance, timesteps, space, weight)
        self.guidance = guidance
        self.interval = interval
        self.inversion_steps = inversion_steps

    def direction(
        self, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        schedule = self.guidance.schedule
        away = broadcast_condition(self.guidance.negative, condition, self.guidance.dropped_groups)
        s = (t - max(1, round(self.interval * schedule.timesteps))).clamp(min=0)
        for here, there in pairwise(s * i // self.inversion_steps for i in range(self.inversion_steps + 1)):
            predicted = self.guidance.denoiser(x, here, away)
            x = schedule.add_noise(predicted.x0, predicted.eps, there)
        at_s = self.guidance.denoiser(x, s, away)
        at_t = self.guidance(schedule.add_noise(at_s.x0, at_s.eps, t), t, condition)
        return at_t.eps - at_s.eps, at_t.x0
