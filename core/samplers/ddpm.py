"""Ancestral sampling: Ho et al. 2020, "Denoising Diffusion Probabilistic Models"."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike, Prediction
from core.errors import UserError
from core.samplers.sampling_loop import (
    SamplerState,
    check_generators,
    denoising_levels,
    noise_like,
    sampling_loop,
    transition,
)

Variance = Literal["fixed_small", "fixed_large", "learned"]


def ddpm(
    denoiser: DenoiserLike,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    variance: Variance = "fixed_small",
    generators: Sequence[torch.Generator] | None = None,
) -> Iterator[SamplerState]:
    """Ancestral sampling (Ho et al. 2020, algorithm 2), on all timesteps or a subset.

    variance: "fixed_small" is the posterior's, "fixed_large" the step's beta, "learned" between the two as
        the prediction's `variance_fraction` says (Nichol & Dhariwal 2021, equation 15). On a subset all are
        those of the steps actually taken (section 4 there). Arriving at clean data adds no noise.
    The other arguments and errors are those of `ddim`; generators are always needed. "learned" raises
    UserError when the first prediction has no variance_fraction.
    """
    if variance not in get_args(Variance):
        raise UserError(f"Unknown variance {variance!r}: expected one of {', '.join(get_args(Variance))}.")
    path = denoising_levels(denoiser.schedule, steps, timesteps)
    sources = check_generators(generators, x, needed=True)

    def move(x: Tensor, prediction: Prediction, i: int) -> Tensor:
        """The posterior q(x_s | x_t, x_0) of `NoiseSchedule.posterior`, or noise of another variance."""
        t, s = path[i], path[i + 1]
        ratio, beta = transition(t, s)
        shrink = (s.sigma / t.sigma) ** 2
        mean = s.alpha * beta / t.sigma**2 * prediction.x0 + ratio * shrink * x
        if s.sigma == 0:
            return mean
        spread = beta**0.5 if variance == "fixed_large" else (beta * shrink) ** 0.5
        if variance == "learned":
            # log variance = v log beta + (1 - v) log(beta shrink)
            spread = spread * torch.exp(-0.5 * math.log(shrink) * _fraction(prediction))
        return mean + spread * noise_like(x.shape, sources).to(x)

    return sampling_loop(denoiser, x, condition, path, move)


def _fraction(prediction: Prediction) -> Tensor:
    if prediction.variance_fraction is None:
        raise UserError("Learned variance needs a network that puts out its variance, and this one does not.")
    return prediction.variance_fraction
