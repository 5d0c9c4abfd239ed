"""Heun's method with churn: Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Models"."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.samplers.common import SamplerState, check_generators, noise_like, predict_checked
from core.samplers.noise_levels import NoiseLevel, denoising_levels, noise_levels

FIRST_ORDER_ABOVE = 200.0  # sigma / alpha


def heun(
    denoiser: DenoiserLike,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    end: float = -1,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
    generators: Sequence[torch.Generator] | None = None,
) -> Iterator[SamplerState]:
    """EDM's stochastic sampler (Karras et al. 2022, algorithm 2): second order, two network calls a step.

    It integrates d(x / alpha) / d(sigma / alpha) = eps, on any schedule. First order, with one call, are the
    step to clean data, steps from a level without signal (where x / alpha is not defined), and steps from
    noise levels above 200, which lie too far apart for the mean of two slopes to help. EDM itself starts at
    80; cosine schedules start at 20,000.

    s_churn: each step first raises the noise level by the factor 1 + min(s_churn / steps, sqrt(2) - 1) by
        adding noise, but never above the schedule's last level; the network is then evaluated at a
        fractional time.
    s_tmin, s_tmax: noise levels, as sigma / alpha, between which noise is added.
    s_noise: factor on the added noise.
    generators: one per sample, required when s_churn > 0.

    The other arguments and errors are those of `ddim`.
    """
    if not 0 <= s_churn < math.inf or not 0 < s_noise < math.inf or not 0 <= s_tmin <= s_tmax:
        needs = "s_churn >= 0, s_noise > 0 and 0 <= s_tmin <= s_tmax"
        raise UserError(f"Heun's method needs {needs}, not {s_churn}, {s_noise}, {s_tmin} and {s_tmax}.")
    levels = denoising_levels(denoiser.schedule, steps, timesteps, end)
    sources = check_generators(generators, x, needed=s_churn > 0)
    count = len(levels) - 1
    gamma = min(s_churn / count, math.sqrt(2) - 1)
    raised = [
        _raised(denoiser.schedule, level, gamma if s_tmin <= level.noise_to_signal <= s_tmax else 0.0)
        for level in levels[:-1]
    ]

    def loop(x: Tensor) -> Iterator[SamplerState]:
        for step, ((level, s), t) in enumerate(zip(pairwise(levels), raised, strict=True), 1):
            if t is not level:
                scale = t.alpha / level.alpha
                noise_std = s_noise * math.sqrt(t.sigma**2 - (scale * level.sigma) ** 2)
                x = scale * x + noise_std * noise_like(x.shape, sources).to(x)
            x0, eps, _ = predict_checked(denoiser, x, condition, t, step, count)
            euler_step = s.alpha * x0 + s.sigma * eps
            if s.sigma > 0 and t.alpha > 0 and t.noise_to_signal <= FIRST_ORDER_ABOVE:
                slope = (eps + predict_checked(denoiser, euler_step, condition, s, step, count).eps) / 2
                scale = s.alpha / t.alpha
                x = scale * x + (s.sigma - scale * t.sigma) * slope
            else:
                x = euler_step
            yield SamplerState(x, x0, step, count, t.t)

    return loop(x.detach())


def _raised(schedule: NoiseSchedule, level: NoiseLevel, gamma: float) -> NoiseLevel:
    """The level whose sigma / alpha is 1 + gamma times that of `level`; `level` itself where gamma is 0."""
    if gamma == 0 or level.alpha == 0 or level.t == schedule.timesteps - 1:
        return level
    t = schedule.t_of_log_snr(-2 * math.log(level.noise_to_signal * (1 + gamma))).item()
    return noise_levels(schedule, [t])[0]
