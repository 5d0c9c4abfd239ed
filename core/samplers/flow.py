"""Euler's method for rectified flow: Liu et al. 2022, "Flow Straight and Fast"."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from core.condition import Condition
from core.denoiser import Denoises
from core.errors import UserError
from core.process import Process
from core.samplers.ddim import ddim
from core.samplers.walk import State


def euler(
    denoiser: Denoises,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    end: float = -1,
) -> Iterator[State]:
    """dx / dsigma = eps - x0 by Euler's method: x_s = x_t + (sigma_s - sigma_t) (eps - x0) (Liu et al. 2022).

    With x_t = (1 - sigma_t) x0 + sigma_t eps that is (1 - sigma_s) x0 + sigma_s eps: DDIM without noise, and
    computed as such. Arguments and errors are those of `ddim`; raises UserError for any other schedule.
    """
    if denoiser.schedule.process is not Process.RECTIFIED_FLOW:
        raise UserError(
            f"Euler's method for flows needs a flow schedule, not {denoiser.schedule.name!r}: use ddim there."
        )
    return ddim(denoiser, x, condition, steps=steps, timesteps=timesteps, end=end)
