"""DDIM and its inversion: Song et al. 2020, "Denoising Diffusion Implicit Models"."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike, Prediction
from core.errors import UserError
from core.samplers.sampling_loop import (
    NoiseLevel,
    SamplerState,
    check_generators,
    denoising_levels,
    inversion_levels,
    noise_like,
    predict_checked,
    sampling_loop,
    transition,
)


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
    """DDIM (Song et al. 2020, equations 12 and 16): deterministic at eta 0, ancestral at eta 1.

    At eta 0 it is Euler's method for the probability-flow ODE, in sigma / alpha as time.

    x: (B,...) noise at the first timestep: sigma times standard normal (sigma is 1 but for variance-exploding
        schedules, or nearly).
    steps: how many timesteps, with trailing spacing; or `timesteps`: which, in descending order, such as
        `schedule.spaced(20, "karras")`. Fractional ones ask the network at fractional times.
    end: the timestep the last step arrives at; -1 is clean data (0 is diffusers' set_alpha_to_one=False).
    eta: scales the noise of each step; above 1 it is held to what the step's noise level allows, which keeps
        the marginals right.
    generators: one per sample, needed where eta > 0.

    Raises UserError for impossible steps, timesteps or eta, ValueError for missing generators; both at the
    call, before the first step. While sampling, raises UserError when the network's output is not finite.
    """
    if not 0 <= eta < float("inf"):
        raise UserError(f"DDIM's eta must be 0 or more, not {eta}.")
    path = denoising_levels(denoiser.schedule, steps, timesteps, end)
    sources = check_generators(generators, x, needed=eta > 0)

    def move(x: Tensor, prediction: Prediction, i: int) -> Tensor:
        t, s = path[i], path[i + 1]
        spread = min(eta * transition(t, s)[1] ** 0.5 * s.sigma / t.sigma, s.sigma)
        x = s.alpha * prediction.x0 + (s.sigma**2 - spread**2) ** 0.5 * prediction.eps
        return x + spread * noise_like(x.shape, sources).to(x) if spread > 0 else x

    return sampling_loop(denoiser, x, condition, path, move)


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
    """The ODE of `ddim` upward, from data to the noise that `ddim` takes back to it (Song et al. 2020,
    section 4.3).

    Each step undoes DDIM's step from t down to s, x_s = (alpha_s / alpha_t) x_t + (...) eps(x_t, t). x_t is
    not known yet, so eps is asked at x_s instead, as is usual; more `iterations` put the x_t just found in
    its place, which leads to DDIM's exact inverse where the steps are small enough (Pan et al. 2023,
    "Effective Real Image Editing with Accelerated Iterative Diffusion Inversion").

    x: (B,...) data at the level of timestep `start` (-1: clean).
    timesteps: in ascending order; `steps` visits those of `ddim` with as many steps, the other way round.
    Yields one `State` a step: x at timestep t, x0 the data that it now stands for.
    Errors are those of `ddim`.
    """
    if iterations < 1:
        raise UserError(f"Inversion takes at least 1 iteration a step, not {iterations}.")
    path = inversion_levels(denoiser.schedule, steps, timesteps, start)
    return _climb(denoiser, x, condition, path, iterations)


def _climb(
    denoiser: DenoiserLike, x: Tensor, condition: Condition, path: Sequence[NoiseLevel], iterations: int
) -> Iterator[SamplerState]:
    steps = len(path) - 1
    for i in range(steps):
        s, t = path[i], path[i + 1]
        with torch.no_grad():
            guess = x0 = x
            for _ in range(iterations):
                eps = predict_checked(denoiser, guess, condition, t, i, steps).eps
                x0 = (x - s.sigma * eps) / s.alpha
                guess = t.alpha * x0 + t.sigma * eps
            x = guess
        yield SamplerState(x, x0, i + 1, steps, t.t)
