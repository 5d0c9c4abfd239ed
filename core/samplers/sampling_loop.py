"""What all samplers share: noise levels read once, the walk down them, and refusals before the first step."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike, Prediction
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError


class SamplerState(NamedTuple):
    """Where sampling stands after a step."""

    x: Tensor  # (B,...) the sample, at the next timestep's noise level; after the last step, the result
    x0: Tensor  # (B,...) the denoiser's present guess of the result
    step: int  # 1 .. steps
    steps: int
    t: float  # the timestep the denoiser was just asked at: an int unless the spacing is fractional


class NoiseLevel(NamedTuple):
    """A stop on the way: x_t = alpha x_0 + sigma eps. Python floats, so that loops index no tensors."""

    t: float
    alpha: float
    sigma: float

    @property
    def half_log_snr(self) -> float:
        """lambda = log(alpha / sigma), half the log-SNR: time to exponential integrators (Lu et al. 2022).
        Infinite for clean data, minus infinite where no signal is left."""
        if self.alpha == 0 or self.sigma == 0:
            return math.inf if self.sigma == 0 else -math.inf
        return math.log(self.alpha / self.sigma)


# (x_t, prediction, i) -> x_s, where t is level i of the path and s level i + 1
StepFn = Callable[[Tensor, Prediction, int], Tensor]


def noise_like(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """Standard normal float32 noise, sample i from generator i, so that a sample never depends on its batch.

    shape: (B,...), B = len(generators), which share one device; the noise is drawn there and stays there.
    """
    if len(generators) != shape[0]:
        raise ValueError(f"{len(generators)} generators for a batch of {shape[0]}")
    return torch.stack([torch.randn(tuple(shape[1:]), generator=g, device=g.device) for g in generators])


def sampling_loop(
    denoiser: DenoiserLike, x: Tensor, condition: Condition, path: Sequence[NoiseLevel], move: StepFn
) -> Iterator[SamplerState]:
    """One network call a level but the last, each followed by a move to the next level."""
    steps = len(path) - 1
    for i in range(steps):
        # Not around the yield: the caller's own gradient mode must hold between steps.
        with torch.no_grad():
            prediction = predict_checked(denoiser, x, condition, path[i], i, steps)
            x = move(x, prediction, i)
        yield SamplerState(x, prediction.x0, i + 1, steps, path[i].t)


def predict_checked(
    denoiser: DenoiserLike, x: Tensor, condition: Condition, level: NoiseLevel, i: int, steps: int
) -> Prediction:
    """The prediction at a level. Raises UserError, naming step i + 1, when it is not finite."""
    fractional = torch.float32 if x.device.type == "mps" else torch.float64
    dtype = torch.long if isinstance(level.t, int) else fractional
    # Expanded, by which the schedule knows it for one timestep and looks it up once: see `scales`.
    t = torch.tensor(level.t, dtype=dtype, device=x.device).expand(len(x))
    prediction = denoiser(x, t, condition)
    # One number tells of all: a sum is finite only if every term is.
    if not math.isfinite(prediction.x0.sum(dtype=torch.float32).item()):
        raise UserError(
            f"The network's output is not finite at step {i + 1} of {steps} (timestep {level.t:g}): its "
            "weights are broken, or its numbers overflow in this precision."
        )
    return prediction


def denoising_levels(
    schedule: NoiseSchedule, steps: int | None, timesteps: Sequence[float] | None, end: float = -1
) -> list[NoiseLevel]:
    """The levels to visit, then the one to arrive at.

    steps: how many timesteps, with trailing spacing; or timesteps: which.
    Raises UserError unless they descend within the schedule.
    """
    visited = resolve_timesteps(schedule, steps, timesteps)
    path = [*visited, end]
    if not visited or not _descend(path) or visited[0] > schedule.timesteps - 1 or end < -1:
        span = f"[{end + 1:g}, {schedule.timesteps})"
        raise UserError(f"Sampling timesteps must descend within {span}, not {visited}.")
    return noise_levels(schedule, path)


def inversion_levels(
    schedule: NoiseSchedule, steps: int | None, timesteps: Sequence[float] | None, start: float = -1
) -> list[NoiseLevel]:
    """As `descent`, upward: the level to start from, then those to visit."""
    visited = resolve_timesteps(schedule, steps, timesteps)
    if steps is not None:
        visited.reverse()
    path = [start, *visited]
    if not visited or not _descend(path[::-1]) or visited[-1] > schedule.timesteps - 1 or start < -1:
        span = f"[{start + 1:g}, {schedule.timesteps})"
        raise UserError(f"Timesteps of inversion must ascend within {span}, not {visited}.")
    return noise_levels(schedule, path)


def resolve_timesteps(
    schedule: NoiseSchedule, steps: int | None, timesteps: Sequence[float] | None
) -> list[float]:
    """The timesteps that were asked for, whole numbers as int."""
    if steps is not None and timesteps is None:
        return schedule.sampling_timesteps(steps)
    if timesteps is not None and steps is None:
        return [int(t) if float(t).is_integer() else float(t) for t in timesteps]
    raise ValueError("give either steps or timesteps")


def noise_levels(schedule: NoiseSchedule, path: Sequence[float]) -> list[NoiseLevel]:
    """The noise levels of timesteps in [-1, T - 1]."""
    whole = all(isinstance(t, int) for t in path)
    t = torch.tensor(path, dtype=torch.long if whole else torch.float64)
    return [
        NoiseLevel(*level)
        for level in zip(path, schedule.alpha(t).tolist(), schedule.sigma(t).tolist(), strict=True)
    ]


def transition(t: NoiseLevel, s: NoiseLevel) -> tuple[float, float]:
    """q(x_t | x_s) = N(ratio x_s, beta I)."""
    ratio = t.alpha / s.alpha
    return ratio, t.sigma**2 - (ratio * s.sigma) ** 2


def check_generators(
    generators: Sequence[torch.Generator] | None, x: Tensor, *, needed: bool
) -> Sequence[torch.Generator]:
    """The generators of a sampler that needs them. Raises ValueError unless there is one a sample."""
    if not needed:
        return ()
    if generators is None or len(generators) != len(x):
        raise ValueError(f"this sampler adds noise: it needs {len(x)} generators, one for each sample")
    return generators


def _descend(path: Sequence[float]) -> bool:
    return all(t > s for t, s in zip(path[:-1], path[1:], strict=True))
