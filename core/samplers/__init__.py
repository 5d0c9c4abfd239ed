"""Samplers: generators that yield a `State` after every step; the caller owns progress, previews and stops.

All are called alike: `sampler(denoiser, x, condition, *, steps=... or timesteps=..., ...)`. Noise comes from
one generator a sample, so that a sample never depends on its batch.

    ddpm             ancestral sampling, with fixed or learned variance
    ddim             first order, deterministic or with noise; ddim_inversion takes data back to its noise
    euler            first order, the velocity of a rectified flow
    dpm_solver       DPM-Solver++(2M): second order at one network call a step
    unipc            predictor and corrector of order 2 or 3 at one network call a step
    heun             second order at two network calls a step, with churn
"""

from core.samplers.ddim import ddim, ddim_inversion
from core.samplers.ddpm import ddpm
from core.samplers.dpm_solver import dpm_solver
from core.samplers.flow import euler
from core.samplers.heun import heun
from core.samplers.sampling_loop import SamplerState, noise_like
from core.samplers.unipc import unipc

__all__ = [
    "SamplerState",
    "ddim",
    "ddim_inversion",
    "ddpm",
    "dpm_solver",
    "euler",
    "heun",
    "noise_like",
    "unipc",
]
