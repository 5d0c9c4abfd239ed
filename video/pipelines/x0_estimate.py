"""Estimated x0 from two successive sampler states, for pipelines that do not expose their predictions."""

from typing import Any

from torch import Tensor


class X0Estimator:
    """Estimator of x0 from x at two successive timesteps.

    x_t = alpha_t x0 + sigma_t eps at both timesteps gives two equations, which are solved for x0.

    The result is exact for the steps of DDIM (Song et al. 2020, eq. 12) and of Euler's method on a flow, and
    of first order for other solvers of the probability-flow ODE.
    """

    def __init__(self, scheduler: Any) -> None:
        """scheduler: of diffusers; its timesteps must be set before the first call."""
        self.scheduler = scheduler
        self.before: Tensor | None = None

    def __call__(self, step: int, x: Tensor) -> Tensor:
        """Estimated x0 for x, the state after step 0, 1, ...; x itself where no estimate is possible."""
        before, self.before = self.before, x
        levels = noise_levels(self.scheduler)
        if before is None or step + 1 >= len(levels):
            return x
        (alpha, sigma), (alpha_now, sigma_now) = levels[step], levels[step + 1]
        determinant = sigma * alpha_now - sigma_now * alpha
        return (sigma * x - sigma_now * before) / determinant if abs(determinant) > 1e-6 else x


def noise_levels(scheduler: Any) -> list[tuple[float, float]]:
    """(alpha, sigma) at each timestep and at the end; empty for an unsupported scheduler."""
    if scheduler.config.get("use_flow_sigmas") or "FlowMatch" in type(scheduler).__name__:
        return [(1 - sigma, sigma) for sigma in scheduler.sigmas.tolist()]
    if hasattr(scheduler, "alphas_cumprod"):
        squares = scheduler.alphas_cumprod[scheduler.timesteps.long().cpu()].tolist()
        return [(square**0.5, (1 - square) ** 0.5) for square in [*squares, 1.0]]
    return []
