"""Samplers: generators that yield after every step; the caller owns progress, previews and stopping early."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from core.condition import Condition
from core.denoiser import Denoises, Prediction
from core.errors import UserError
from core.schedule import NoiseSchedule

# (prediction, x_t, t, s) -> mean of x_s, standard deviation of the noise to add to it
Move = Callable[[Prediction, Tensor, int, int], tuple[Tensor, float]]


class State(NamedTuple):
    """Where sampling stands after a step."""

    x: Tensor  # (B,...) the sample, at the next timestep's noise level; after the last step, the result
    x0: Tensor  # (B,...) the denoiser's present guess of the result
    step: int  # 1 .. steps
    steps: int
    t: int  # the timestep the denoiser was just asked at


def noise_like(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """Standard normal float32 noise, sample i from generator i, so that a sample never depends on its batch.

    shape: (B,...), B = len(generators), which share one device; the noise is drawn there and stays there.
    """
    if len(generators) != shape[0]:
        raise ValueError(f"{len(generators)} generators for a batch of {shape[0]}")
    return torch.stack([torch.randn(tuple(shape[1:]), generator=g, device=g.device) for g in generators])


def ddim(
    denoiser: Denoises,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[int] | None = None,
    end: int = -1,
    eta: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
) -> Iterator[State]:
    """DDIM (Song et al. 2020, equations 12 and 16): deterministic at eta 0, ancestral at eta 1.

    x: (B,...) noise at the first timestep (standard normal for the variance-preserving schedules).
    steps: how many timesteps, with trailing spacing; or `timesteps`: which, in descending order.
    end: the timestep the last step arrives at; -1 is clean data (0 is diffusers' set_alpha_to_one=False).
    eta: scales the noise of each step; above 1 it is held to what the step's noise level allows, which keeps
        the marginals right.
    generators: one per sample, needed where eta > 0.

    Raises UserError for impossible steps, timesteps or eta, ValueError for missing generators; both at the
    call, before the first step.
    """
    if not 0 <= eta < float("inf"):
        raise UserError(f"DDIM's eta must be 0 or more, not {eta}.")
    schedule = denoiser.schedule

    def move(prediction: Prediction, xt: Tensor, t: int, s: int) -> tuple[Tensor, float]:
        alpha_s, sigma_s = schedule.alpha(s).item(), schedule.sigma(s).item()
        spread = eta * schedule.step_beta(t, s).item() ** 0.5 * sigma_s / schedule.sigma(t).item()
        spread = min(spread, sigma_s)
        return alpha_s * prediction.x0 + (sigma_s**2 - spread**2) ** 0.5 * prediction.eps, spread

    path = _path(schedule, steps, timesteps, end)
    return _walk(denoiser, x, condition, path, move, _checked(generators, x, needed=eta > 0))


def ddpm(
    denoiser: Denoises,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[int] | None = None,
    variance: Literal["fixed_small", "fixed_large"] = "fixed_small",
    generators: Sequence[torch.Generator] | None = None,
) -> Iterator[State]:
    """Ancestral sampling (Ho et al. 2020, algorithm 2), on all timesteps or a subset.

    variance: "fixed_small" is the posterior's, "fixed_large" the step's beta; on a subset both are those of
        the steps actually taken (Nichol & Dhariwal 2021, section 4). Arriving at clean data adds no noise.
    The other arguments and errors are those of `ddim`; generators are always needed.
    """
    if variance not in ("fixed_small", "fixed_large"):
        raise UserError(f"Unknown variance {variance!r}: expected 'fixed_small' or 'fixed_large'.")
    schedule = denoiser.schedule

    def move(prediction: Prediction, xt: Tensor, t: int, s: int) -> tuple[Tensor, float]:
        mean, small, _ = schedule.posterior(prediction.x0, xt, torch.tensor([t]), torch.tensor([s]))
        if s < 0:
            return mean, 0.0
        return mean, (small.item() if variance == "fixed_small" else schedule.step_beta(t, s).item()) ** 0.5

    path = _path(schedule, steps, timesteps, end=-1)
    return _walk(denoiser, x, condition, path, move, _checked(generators, x, needed=True))


def _walk(
    denoiser: Denoises,
    x: Tensor,
    condition: Condition,
    path: Sequence[int],
    move: Move,
    generators: Sequence[torch.Generator],
) -> Iterator[State]:
    steps = len(path) - 1
    for step, (t, s) in enumerate(zip(path[:-1], path[1:], strict=True), start=1):
        # Not around the yield: the caller's own gradient mode must hold between steps.
        with torch.no_grad():
            prediction = denoiser(x, torch.full((len(x),), t, device=x.device), condition)
            x, spread = move(prediction, x, t, s)
            if spread > 0:
                x = x + spread * noise_like(x.shape, generators).to(x)
        yield State(x, prediction.x0, step, steps, t)


def _path(schedule: NoiseSchedule, steps: int | None, timesteps: Sequence[int] | None, end: int) -> list[int]:
    """The timesteps to visit, then the one to arrive at."""
    if (steps is None) == (timesteps is None):
        raise ValueError("give either steps or timesteps")
    visited = schedule.spaced(steps) if steps is not None else [int(t) for t in timesteps or ()]
    path = [*visited, end]
    descending = all(t > s for t, s in zip(path[:-1], path[1:], strict=True))
    if not visited or not descending or visited[0] >= schedule.timesteps or end < -1:
        span = f"[{end + 1}, {schedule.timesteps})"
        raise UserError(f"Sampling timesteps must descend within {span}, not {visited}.")
    return path


def _checked(
    generators: Sequence[torch.Generator] | None, x: Tensor, *, needed: bool
) -> Sequence[torch.Generator]:
    if not needed:
        return ()
    if generators is None or len(generators) != len(x):
        raise ValueError(f"this sampler adds noise: it needs {len(x)} generators, one for each sample")
    return generators
