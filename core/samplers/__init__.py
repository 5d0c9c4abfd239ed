"""Samplers: generators that yield a `SamplerState` after every step; the caller owns progress and stopping.

All have the form `sampler(denoiser, x, condition, *, steps=... or timesteps=..., ...)`. Noise comes from one
generator per sample, so that a sample never depends on its batch.

    ddpm             ancestral sampling, with fixed or learned variance
    ddim             first order, deterministic or with noise; ddim_inversion runs from data to noise
    euler            first order, for rectified flows
    dpm_solver       DPM-Solver++(2M): second order with one network call a step
    unipc            predictor and corrector of order 2 or 3 with one network call a step
    heun             second order with two network calls a step, optionally stochastic
    lcm, tcd         for models distilled to few steps: consistency models, trajectory consistency
"""

from core.samplers.common import SamplerState, noise_like
from core.samplers.consistency import lcm, tcd
from core.samplers.ddim import ddim, ddim_inversion
from core.samplers.ddpm import ddpm
from core.samplers.dpm_solver import dpm_solver
from core.samplers.euler import euler
from core.samplers.heun import heun
from core.samplers.unipc import unipc

__all__ = [
    "SamplerState",
    "ddim",
    "ddim_inversion",
    "ddpm",
    "dpm_solver",
    "euler",
    "heun",
    "lcm",
    "noise_like",
    "tcd",
    "unipc",
]
