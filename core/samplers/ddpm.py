"""Ancestral sampling: Ho et al. 2020, "Denoising Diffusion Probabilistic Models"."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from core.errors import UserError
from core.samplers.common import SamplerState, check_generators, noise_like, predict_checked
from core.samplers.noise_levels import denoising_levels, transition

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
    """Ancestral sampler (Ho et al. 2020, algorithm 2), on all timesteps or a subset of them.

    variance: "fixed_small" is the posterior's, "fixed_large" the step's beta, "learned" interpolates between
        the two by the prediction's `variance_fraction` (Nichol & Dhariwal 2021, equation 15). On a subset of
        the timesteps, these are the variances of the steps actually taken (section 4 there). The step to
        clean data adds no noise.

    The other arguments and errors are those of `ddim`; generators are always required. "learned" raises
    UserError when the first prediction has no variance_fraction.
    """
    if variance not in get_args(Variance):
        raise UserError(f"Unknown variance {variance!r}: expected one of {', '.join(get_args(Variance))}.")
    levels = denoising_levels(denoiser.schedule, steps, timesteps)
    sources = check_generators(generators, x, needed=True)
    count = len(levels) - 1

    def loop(x: Tensor) -> Iterator[SamplerState]:
        for step, (t, s) in enumerate(pairwise(levels), 1):
            x0, _, fraction = predict_checked(denoiser, x, condition, t, step, count)
            if variance == "learned" and fraction is None:
                raise UserError("Learned variance needs a network that predicts it, and this one does not.")
            # The mean and variance of the posterior q(x_s | x_t, x_0), see `NoiseSchedule.posterior`.
            ratio, beta = transition(t, s)
            shrink = (s.sigma / t.sigma) ** 2
            x = s.alpha * beta / t.sigma**2 * x0 + ratio * shrink * x
            if s.sigma > 0:
                noise_std = beta**0.5 if variance == "fixed_large" else (beta * shrink) ** 0.5
                if variance == "learned" and fraction is not None:
                    # log variance = v log beta + (1 - v) log(beta shrink)
                    noise_std = noise_std * torch.exp(-0.5 * math.log(shrink) * fraction)
                x = x + noise_std * noise_like(x.shape, sources).to(x)
            yield SamplerState(x, x0, step, count, t.t)

    return loop(x.detach())
