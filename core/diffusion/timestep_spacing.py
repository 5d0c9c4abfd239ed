"""Spacings of a sampler's K timesteps out of T, in descending order; and the noise levels of Karras et al."""

from typing import Literal, get_args

import torch
from torch import Tensor

from core.errors import UserError

Spacing = Literal["trailing", "leading", "linspace", "quadratic", "karras"]


def space_timesteps(timesteps: int, steps: int, spacing: Spacing) -> list[int]:
    """K of T integer timesteps, 1 <= K <= T, in descending order.

    spacing: any except "karras", which depends on noise levels (see `NoiseSchedule.sampling_timesteps`).
    Raises UserError for an unknown spacing.
    """
    match spacing:
        case "trailing":
            return trailing(timesteps, steps)
        case "leading":
            return leading(timesteps, steps)
        case "linspace":
            return linspace(timesteps, steps)
        case "quadratic":
            return quadratic(timesteps, steps)
        case _:
            raise UserError(f"Unknown spacing {spacing!r}: expected one of {', '.join(get_args(Spacing))}.")


def trailing(timesteps: int, steps: int) -> list[int]:
    """Evenly spaced, from T - 1 down (Lin et al. 2023, "Common Diffusion Noise Schedules", table 2)."""
    return [round(timesteps - i * timesteps / steps) - 1 for i in range(steps)]


def leading(timesteps: int, steps: int) -> list[int]:
    """Multiples of T // K down to 0, the default of diffusers (same table). The noisiest are left out."""
    return [i * (timesteps // steps) for i in reversed(range(steps))]


def linspace(timesteps: int, steps: int) -> list[int]:
    """Evenly spaced, from T - 1 to 0, both included (same table)."""
    last = timesteps - 1
    return [last] if steps == 1 else [round(i * last / (steps - 1)) for i in reversed(range(steps))]


def quadratic(timesteps: int, steps: int) -> list[int]:
    """Squares of evenly spaced numbers, scaled to run from T - 1 to 0: denser near clean data.

    Song et al. 2020, "DDIM", appendix D.2. Where several squares round to one timestep, each further one is
    moved to the next noisier timestep.
    """
    last = timesteps - 1
    if steps == 1:
        return [last]
    ascending = [0]
    for i in range(1, steps):
        ascending.append(max(round(last * (i / (steps - 1)) ** 2), ascending[-1] + 1))
    return ascending[::-1]


def distilled(timesteps: int, steps: int, teacher_steps: int = 50) -> list[int]:
    """Evenly chosen from a teacher's steps: those at which a consistency model was distilled.

    Luo et al. 2023, "Latent Consistency Models", section 4.3. The teacher's K' steps are at T // K' times 1,
    2, ..., K', less 1.

    Raises UserError for more steps than the teacher's.
    """
    if steps > teacher_steps:
        raise UserError(f"A distilled model takes at most its teacher's {teacher_steps} steps, not {steps}.")
    stride = timesteps // teacher_steps
    return [stride * (teacher_steps - i * teacher_steps // steps) - 1 for i in range(steps)]


def karras_sigmas(low: float, high: float, steps: int, rho: float = 7.0) -> Tensor:
    """Noise-to-signal ratios from high down to low, evenly spaced in sigma^(1/rho): (K,) float64.

    Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", equation 5.
    """
    ends = torch.tensor([high, low], dtype=torch.float64) ** (1 / rho)
    sigmas = torch.lerp(ends[0], ends[1], torch.linspace(0, 1, steps, dtype=torch.float64)) ** rho
    # Powers and roots round the ends, so they are set to the requested levels.
    sigmas[-1], sigmas[0] = low, high
    return sigmas
