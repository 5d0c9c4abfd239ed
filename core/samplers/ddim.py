"""DDIM and its inversion: Song et al. 2020, "Denoising Diffusion Implicit Models"."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from core.errors import UserError
from core.samplers.common import SamplerState, check_generators, noise_like, predict_checked
from core.samplers.noise_levels import denoising_levels, inversion_levels, transition


def ddim(
    denoiser: DenoiserLike,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    end: float = -1,
    eta: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
) -> Iterator[SamplerState]:
    """DDIM sampler (Song et al. 2020, equations 12 and 16): deterministic at eta 0, ancestral at eta 1.

    At eta 0 it is Euler's method for the probability-flow ODE with sigma / alpha as time.

    x: (B,...) noise at the first timestep: sigma times standard normal (sigma is 1, or nearly, except for
        variance-exploding schedules).
    steps: number of timesteps, with trailing spacing; or `timesteps`: the timesteps in descending order, such
        as `schedule.sampling_timesteps(20, "karras")`. Fractional ones evaluate the network at fractional
        times.
    end: timestep of the last step's result; -1 is clean data (0 is diffusers' set_alpha_to_one=False).
    eta: factor on the noise of each step, >= 0. Above 1 the noise is limited to the noise level of the step,
        which keeps the marginals right.
    generators: one per sample, required when eta > 0.

    Raises UserError for impossible steps, timesteps or eta and ValueError for missing generators, both at the
    call. While sampling, raises UserError when the network's output is not finite.
    """
    if not 0 <= eta < float("inf"):
        raise UserError(f"DDIM's eta must be 0 or more, not {eta}.")
    levels = denoising_levels(denoiser.schedule, steps, timesteps, end)
    sources = check_generators(generators, x, needed=eta > 0)
    count = len(levels) - 1

    def loop(x: Tensor) -> Iterator[SamplerState]:
        for step, (t, s) in enumerate(pairwise(levels), 1):
            x0, eps, _ = predict_checked(denoiser, x, condition, t, step, count)
            noise_std = min(eta * transition(t, s)[1] ** 0.5 * s.sigma / t.sigma, s.sigma)
            x = s.alpha * x0 + (s.sigma**2 - noise_std**2) ** 0.5 * eps
            if noise_std > 0:
                x = x + noise_std * noise_like(x.shape, sources).to(x)
            yield SamplerState(x, x0, step, count, t.t)

    return loop(x.detach())


def ddim_inversion(
    denoiser: DenoiserLike,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    start: float = -1,
    iterations: int = 1,
) -> Iterator[SamplerState]:
    """DDIM inversion: the ODE of `ddim` upward, from data to its noise (Song et al. 2020, section 4.3).

    Each step undoes DDIM's step from t down to s, x_s = (alpha_s / alpha_t) x_t + (...) eps(x_t, t). x_t is
    not known yet, so eps is evaluated at x_s instead, as is usual. More `iterations` evaluate it at the last
    estimate of x_t, which converges to DDIM's exact inverse where the steps are small enough (Pan et al.
    2023, "Effective Real Image Editing with Accelerated Iterative Diffusion Inversion").

    x: (B,...) data at the noise level of timestep `start` (-1: clean).
    timesteps: in ascending order; `steps` visits the timesteps of `ddim` with as many steps in reverse.

    Yields one `SamplerState` a step, whose x is at timestep t and whose x0 is the data it decodes to.
    Errors are those of `ddim`.
    """
    if iterations < 1:
        raise UserError(f"Inversion takes at least 1 iteration a step, not {iterations}.")
    levels = inversion_levels(denoiser.schedule, steps, timesteps, start)
    count = len(levels) - 1

    def loop(x: Tensor) -> Iterator[SamplerState]:
        for step, (s, t) in enumerate(pairwise(levels), 1):
            estimate = x0 = x
            for _ in range(iterations):
                eps = predict_checked(denoiser, estimate, condition, t, step, count).eps
                x0 = (x - s.sigma * eps) / s.alpha
                estimate = t.alpha * x0 + t.sigma * eps
            x = estimate
            yield SamplerState(x, x0, step, count, t.t)

    return loop(x.detach())
