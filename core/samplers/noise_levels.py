"""The noise levels that a sampler visits, as plain floats."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError


class NoiseLevel(NamedTuple):
    """A noise level, x_t = alpha x_0 + sigma eps. Floats, so that sampling loops index no tensors."""

    t: float  # timestep in [-1, T - 1], an int unless fractional; -1 is clean data
    alpha: float
    sigma: float

    @property
    def half_log_snr(self) -> float:
        """lambda = log(alpha / sigma), the time variable of exponential integrators (Lu et al. 2022).

        Infinite for clean data, minus infinite where no signal is left.
        """
        if self.alpha == 0 or self.sigma == 0:
            return math.inf if self.sigma == 0 else -math.inf
        return math.log(self.alpha / self.sigma)

    @property
    def noise_to_signal(self) -> float:
        """sigma / alpha, the noise level of Karras et al. 2022. Infinite where no signal is left."""
        return self.sigma / self.alpha if self.alpha > 0 else math.inf


def denoising_levels(
    schedule: NoiseSchedule, steps: int | None, timesteps: Sequence[float] | None, end: float = -1
) -> list[NoiseLevel]:
    """Noise levels of a sampler, from the noisiest to the level of timestep `end`: one more than its steps.

    steps: number of timesteps, with trailing spacing; or timesteps: the timesteps themselves.

    Raises UserError unless the timesteps descend within the schedule, ValueError unless exactly one of
    `steps` and `timesteps` is given.
    """
    visited = _resolve_timesteps(schedule, steps, timesteps)
    path = [*visited, end]
    if not visited or not _descends(path) or visited[0] > schedule.timesteps - 1 or end < -1:
        span = f"[{end + 1:g}, {schedule.timesteps})"
        raise UserError(f"Sampling timesteps must descend within {span}, not {visited}.")
    return noise_levels(schedule, path)


def inversion_levels(
    schedule: NoiseSchedule, steps: int | None, timesteps: Sequence[float] | None, start: float = -1
) -> list[NoiseLevel]:
    """Noise levels of an inversion, from the level of timestep `start` up to the noisiest.

    Arguments and errors are those of `denoising_levels`; `timesteps` ascend.
    """
    visited = _resolve_timesteps(schedule, steps, timesteps)
    if steps is not None:
        visited.reverse()
    path = [start, *visited]
    if not visited or not _descends(path[::-1]) or visited[-1] > schedule.timesteps - 1 or start < -1:
        span = f"[{start + 1:g}, {schedule.timesteps})"
        raise UserError(f"Timesteps of inversion must ascend within {span}, not {visited}.")
    return noise_levels(schedule, path)


def noise_levels(schedule: NoiseSchedule, timesteps: Sequence[float]) -> list[NoiseLevel]:
    """Noise levels of the given timesteps, each in [-1, T - 1]."""
    integral = all(isinstance(t, int) for t in timesteps)
    t = torch.tensor(timesteps, dtype=torch.long if integral else torch.float64)
    scales = zip(timesteps, schedule.alpha(t).tolist(), schedule.sigma(t).tolist(), strict=True)
    return [NoiseLevel(*level) for level in scales]


def transition(t: NoiseLevel, s: NoiseLevel) -> tuple[float, float]:
    """Ratio and beta of q(x_t | x_s) = N(ratio x_s, beta I)."""
    ratio = t.alpha / s.alpha
    return ratio, t.sigma**2 - (ratio * s.sigma) ** 2


def _resolve_timesteps(
    schedule: NoiseSchedule, steps: int | None, timesteps: Sequence[float] | None
) -> list[float]:
    """The timesteps to visit; whole numbers as int."""
    if steps is not None and timesteps is None:
        return schedule.sampling_timesteps(steps)
    if timesteps is not None and steps is None:
        return [int(t) if float(t).is_integer() else float(t) for t in timesteps]
    raise ValueError("give either steps or timesteps")


def _descends(timesteps: Sequence[float]) -> bool:
    return all(t > s for t, s in pairwise(timesteps))
