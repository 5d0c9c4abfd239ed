"""Euler's method for rectified flow: Liu et al. 2022, "Flow Straight and Fast"."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from core.diffusion.process import Process
from core.errors import UserError
from core.samplers.common import SamplerState, predict_checked
from core.samplers.noise_levels import denoising_levels


def euler(
    denoiser: DenoiserLike,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    end: float = -1,
) -> Iterator[SamplerState]:
    """Euler sampler of rectified flow: x_s = x_t + (sigma_s - sigma_t) (eps - x0) (Liu et al. 2022).

    This is the straight line from x_t towards x0, of which sigma_s / sigma_t is left after the step; it
    equals DDIM without noise. Deterministic.

    Arguments and errors are those of `ddim`; raises UserError for a schedule that is not a rectified flow.
    """
    if denoiser.schedule.process is not Process.RECTIFIED_FLOW:
        raise UserError(
            f"Euler's method for flows needs a flow schedule, not {denoiser.schedule.name!r}: use ddim there."
        )
    levels = denoising_levels(denoiser.schedule, steps, timesteps, end)
    count = len(levels) - 1

    def loop(x: Tensor) -> Iterator[SamplerState]:
        for step, (t, s) in enumerate(pairwise(levels), 1):
            x0 = predict_checked(denoiser, x, condition, t, step, count).x0
            x = torch.lerp(x0, x, s.sigma / t.sigma)
            yield SamplerState(x, x0, step, count, t.t)

    return loop(x.detach())
