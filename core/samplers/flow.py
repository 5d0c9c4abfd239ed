"""Euler's method for rectified flow: Liu et al. 2022, "Flow Straight and Fast"."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike, Prediction
from core.diffusion.process import Process
from core.errors import UserError
from core.samplers.sampling_loop import SamplerState, denoising_levels, sampling_loop


def euler(
    denoiser: DenoiserLike,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    end: float = -1,
) -> Iterator[SamplerState]:
    """dx / dsigma = eps - x0 by Euler's method: x_s = x_t + (sigma_s - sigma_t) (eps - x0) (Liu et al. 2022).

    That leads straight from x_t towards x0, sigma_s / sigma_t of the distance being left; it is DDIM without
    noise. Arguments and errors are those of `ddim`; raises UserError for any other schedule.
    """
    if denoiser.schedule.process is not Process.RECTIFIED_FLOW:
        raise UserError(
            f"Euler's method for flows needs a flow schedule, not {denoiser.schedule.name!r}: use ddim there."
        )
    path = denoising_levels(denoiser.schedule, steps, timesteps, end)

    def move(x: Tensor, prediction: Prediction, i: int) -> Tensor:
        return torch.lerp(prediction.x0, x, path[i + 1].sigma / path[i].sigma)

    return sampling_loop(denoiser, x, condition, path, move)
