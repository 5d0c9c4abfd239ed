"""Samplers of models that were distilled to few steps: consistency models and trajectory consistency."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from core.errors import UserError
from core.samplers.common import SamplerState, check_generators, noise_like, predict_checked
from core.samplers.noise_levels import denoising_levels, noise_levels, transition

SIGMA_DATA = 0.5  # deviation of the data, in the boundary condition
TIME_SCALE = 10.0  # of timesteps, in the boundary condition


def lcm(
    denoiser: DenoiserLike,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    generators: Sequence[torch.Generator],
) -> Iterator[SamplerState]:
    """Multistep consistency sampling (Song et al. 2023, "Consistency Models", algorithm 1).

    Each step predicts clean data, f(x, t) = c_skip x + c_out x0, and adds new noise to the level of the next
    timestep. The boundary condition f(x, 0) = x is that of latent consistency models (Luo et al. 2023,
    section 4.1): c_skip = 0.25 / (0.25 + (10 t)^2) and c_out = 10 t / sqrt(0.25 + (10 t)^2). Distilled models
    need 1 to 8 steps.

    Arguments and errors are those of `ddim`; the result is clean data.
    """
    levels = denoising_levels(denoiser.schedule, steps, timesteps)
    sources = check_generators(generators, x, needed=True)
    count = len(levels) - 1

    def loop(x: Tensor) -> Iterator[SamplerState]:
        for step, (t, s) in enumerate(pairwise(levels), 1):
            x0 = predict_checked(denoiser, x, condition, t, step, count).x0
            time, spread = TIME_SCALE * t.t, SIGMA_DATA**2
            total = time**2 + spread
            x0 = spread / total * x + time / total**0.5 * x0
            x = s.alpha * x0
            if s.sigma > 0:
                x = x + s.sigma * noise_like(x.shape, sources).to(x)
            yield SamplerState(x, x0, step, count, t.t)

    return loop(x.detach())


def tcd(
    denoiser: DenoiserLike,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    eta: float = 0.3,
    generators: Sequence[torch.Generator] | None = None,
) -> Iterator[SamplerState]:
    """Strategic stochastic sampling of trajectory consistency (Zheng et al. 2024, "TCD", algorithm 2).

    Each step goes down to timestep (1 - eta) s along the predicted trajectory, and is noised from there up to
    the next timestep s. The last step ends at timestep 0.

    eta: the paper's gamma, in [0, 1]: 0 is DDIM without noise, 1 adds new noise to clean data as `lcm` does.
    generators: one per sample, required when eta > 0.

    The other arguments and errors are those of `ddim`.
    """
    if not 0 <= eta <= 1:
        raise UserError(f"TCD's eta must be from 0 to 1, not {eta}.")
    levels = denoising_levels(denoiser.schedule, steps, timesteps, 0)
    exact = 6  # digits: 0.7 * 730 is 511, and not a little less
    lower = noise_levels(denoiser.schedule, [int(round((1 - eta) * s.t, exact)) for s in levels[1:]])
    sources = check_generators(generators, x, needed=eta > 0)
    count = len(lower)

    def loop(x: Tensor) -> Iterator[SamplerState]:
        for step, (t, s, low) in enumerate(zip(levels, levels[1:], lower, strict=False), 1):
            x0, eps, _ = predict_checked(denoiser, x, condition, t, step, count)
            x = low.alpha * x0 + low.sigma * eps
            if low.t < s.t:
                ratio, variance = transition(s, low)
                x = ratio * x + variance**0.5 * noise_like(x.shape, sources).to(x)
            yield SamplerState(x, x0, step, count, t.t)

    return loop(x.detach())
