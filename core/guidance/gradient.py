"""Guidance by the gradient of a function of noisy data."""

from typing import Protocol

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.diffusion.schedule import NoiseSchedule
from core.guidance.base import GuidableDenoiser, Guidance, check_schedules_agree


class LogDensity(Protocol):
    """Protocol of log-densities of noisy data, up to a constant: of a class, or a return (Diffuser)."""

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule that timesteps refer to."""
        ...

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Values (B,) for x (B,...) noised to t; t: (B,) integers. Differentiable in x."""
        ...


class GradientGuidance(Guidance):
    """Guidance eps - scale sigma_t grad_{x_t} J(x_t, t): sampling from p(x) exp(scale J(x)).

    Dhariwal & Nichol 2021, algorithm 2, where J is log p(y | x_t); Janner et al. 2022 (Diffuser), algorithm
    1, where it is the return of a trajectory.

    In x0 the step is scale sigma^2 / alpha times the gradient. That is large where there is almost no signal,
    and where J is unreliable. A `GuidanceInterval` around this guidance excludes those noise levels.

    Raises ValueError when denoiser and density have different noise schedules.
    """

    def __init__(self, denoiser: GuidableDenoiser, density: LogDensity, scale: float = 1.0) -> None:
        check_schedules_agree(denoiser, density.schedule, "density")
        super().__init__(denoiser)
        self.density = density
        self.scale = scale

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The guided prediction, not clipped.

        One network call of batch B, and one forward and backward pass of the density, whose weights get no
        gradient.
        """
        plain = self.denoiser.predict(x, t, condition)
        step = self.scale * self.gradient(x, t)
        alpha, sigma = self.schedule.scales(t, x)
        # At alpha = 0 x_t is pure noise and independent of x0: the gradient is zero.
        inverse_snr = torch.where(alpha > 0, sigma / alpha, 0.0)
        return plain._replace(
            x0=plain.x0 + sigma * inverse_snr * step, eps=plain.eps - alpha * inverse_snr * step
        )

    def gradient(self, x: Tensor, t: Tensor) -> Tensor:
        """The gradient of J with respect to x_t, shaped like x."""
        with torch.enable_grad():  # samplers turn gradients off
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.density(x, t).sum(), x)[0]
