"""Heun's method with churn: Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Models"."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.samplers.sampling_loop import (
    NoiseLevel,
    SamplerState,
    check_generators,
    denoising_levels,
    noise_levels,
    noise_like,
    predict_checked,
)

FIRST_ORDER_ABOVE = 200.0  # sigma / alpha above which steps are first order


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
    """EDM's stochastic sampler (Karras et al. 2022, algorithm 2), second order, two network calls a step.

    It runs in x / alpha, whose noise level is sigma / alpha, on any schedule. Steps to clean data, from a
    level without signal (where x / alpha is not defined), and from noise levels above 200, take one call and
    are first order: so far up steps lie too far apart for the mean of two slopes to mean anything. EDM itself
    starts at 80; cosine schedules start at 20,000.

    s_churn: each step first raises the noise level by min(s_churn / steps, sqrt(2) - 1) of itself, by adding
        noise, though never above the schedule's last level; the network is then asked at a fractional time.
    s_tmin, s_tmax: the noise levels, as sigma / alpha, between which that is done.
    s_noise: scales the noise that is added.
    generators: one per sample, needed where s_churn > 0.
    The other arguments and errors are those of `ddim`.
    """
    if not 0 <= s_churn < math.inf or not 0 < s_noise < math.inf or not 0 <= s_tmin <= s_tmax:
        needs = "s_churn >= 0, s_noise > 0 and 0 <= s_tmin <= s_tmax"
        raise UserError(f"Heun's method needs {needs}, not {s_churn}, {s_noise}, {s_tmin} and {s_tmax}.")
    path = denoising_levels(denoiser.schedule, steps, timesteps, end)
    sources = check_generators(generators, x, needed=s_churn > 0)
    gamma = min(s_churn / (len(path) - 1), math.sqrt(2) - 1)
    raised = [
        _raised(denoiser.schedule, level, gamma if s_tmin <= _ratio(level) <= s_tmax else 0.0)
        for level in path[:-1]
    ]
    return _walk(denoiser, x, condition, path, raised, s_noise, sources)


def _walk(
    denoiser: DenoiserLike,
    x: Tensor,
    condition: Condition,
    path: Sequence[NoiseLevel],
    raised: Sequence[NoiseLevel],
    s_noise: float,
    sources: Sequence[torch.Generator],
) -> Iterator[SamplerState]:
    steps = len(path) - 1
    for i, (level, t, s) in enumerate(zip(path[:-1], raised, path[1:], strict=True)):
        with torch.no_grad():
            if t is not level:
                scale = t.alpha / level.alpha
                added = s_noise * math.sqrt(t.sigma**2 - (scale * level.sigma) ** 2)
                x = scale * x + added * noise_like(x.shape, sources).to(x)
            prediction = predict_checked(denoiser, x, condition, t, i, steps)
            there = s.alpha * prediction.x0 + s.sigma * prediction.eps
            if s.sigma > 0 and t.alpha > 0 and _ratio(t) <= FIRST_ORDER_ABOVE:
                # d(x / alpha) / d(sigma / alpha) = eps
                eps = (prediction.eps + predict_checked(denoiser, there, condition, s, i, steps).eps) / 2
                scale = s.alpha / t.alpha
                there = scale * x + (s.sigma - scale * t.sigma) * eps
            x = there
        yield SamplerState(x, prediction.x0, i + 1, steps, t.t)


def _ratio(level: NoiseLevel) -> float:
    return level.sigma / level.alpha if level.alpha > 0 else math.inf


def _raised(schedule: NoiseSchedule, level: NoiseLevel, gamma: float) -> NoiseLevel:
    """The level whose sigma / alpha is (1 + gamma) times that of `level`; or `level` itself."""
    if gamma == 0 or level.alpha == 0 or level.t == schedule.timesteps - 1:
        return level
    t = schedule.t_of_log_snr(-2 * math.log(_ratio(level) * (1 + gamma))).item()
    return noise_levels(schedule, [t])[0]
