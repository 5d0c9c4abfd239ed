"""Timestep schedules of distillation: from high to low noise as the run progresses."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Range = tuple[float, float]


class Timesteps(Protocol):
    """Samples the timesteps of a batch."""

    def draw(self, count: int, progress: float, timesteps: int, generator: torch.Generator) -> Tensor:
        """(count,) integers in [0, timesteps), on the generator's device.

        progress: completed share of the run, [0, 1]; timesteps: T of the noise schedule.
        """
        ...


@dataclass(frozen=True)
class LinearAnnealing:
    """Uniform in a range whose bounds change linearly with progress, stratified over the batch.

    Ranges are (lower, upper) in shares of T: (0.98, 0.98) -> (0.02, 0.5) is MVDream's (Shi et al. 2023).
    With (0.02, 0.98) as start and end this is DreamFusion's sampling without annealing.

    until: share of the run at which `end` is reached; the range is constant afterwards.

    Raises ValueError for ranges that are not 0 <= lower <= upper <= 1, and for until outside (0, 1].
    """

    start: Range = (0.98, 0.98)
    end: Range = (0.02, 0.5)
    until: float = 0.8

    def __post_init__(self) -> None:
        for lower, upper in (self.start, self.end):
            if not 0 <= lower <= upper <= 1:
                raise ValueError(f"a range of timesteps needs 0 <= lower <= upper <= 1, not {lower}, {upper}")
        if not 0 < self.until <= 1:
            raise ValueError(f"until must be a share of the run in (0, 1], not {self.until}")

    def range(self, progress: float) -> Range:
        """Lower and upper bound at a share of the run, as shares of T."""
        annealed = min(progress / self.until, 1.0)
        lower, upper = (a + annealed * (b - a) for a, b in zip(self.start, self.end, strict=True))
        return lower, upper

    def draw(self, count: int, progress: float, timesteps: int, generator: torch.Generator) -> Tensor:
        """As `Timesteps.draw`: one timestep in each of `count` equal parts of the range, in random order."""
        lower, upper = self.range(progress)
        device = generator.device
        parts = torch.randperm(count, generator=generator, device=device)
        share = (parts + torch.rand(count, generator=generator, device=device)) / count
        return ((lower + share * (upper - lower)) * timesteps).long().clamp(max=timesteps - 1)


@dataclass(frozen=True)
class DreamTime:
    """One timestep for all rows, non-increasing, slowest where W(t) is largest (Huang et al. 2023).

    The share of the run at timestep t is proportional to W(t), which is 1 on the plateau, where the content
    is decided, with a Gaussian tail on either side. ("DreamTime: An Improved Optimization Strategy for
    Diffusion-Guided 3D Generation", TP-SDS; the paper's m2, m1 are the ends of the plateau and s2, s1 the
    standard deviations of the tails.)

    All values are shares of T. Raises ValueError unless 0 <= plateau[0] <= plateau[1] <= 1, the tails are
    positive and the limits are 0 <= lower < upper <= 1.
    """

    plateau: Range = (0.5, 0.8)
    tails: Range = (0.1, 0.3)
    limits: Range = (0.02, 0.98)

    def __post_init__(self) -> None:
        (left, right), (lower, upper) = self.plateau, self.limits
        if not 0 <= left <= right <= 1 or not 0 <= lower < upper <= 1 or min(self.tails) <= 0:
            raise ValueError(f"invalid DreamTime schedule: {self.plateau=}, {self.tails=}, {self.limits=}")

    def draw(self, count: int, progress: float, timesteps: int, generator: torch.Generator) -> Tensor:
        """As `Timesteps.draw`; deterministic."""
        t = torch.arange(timesteps, dtype=torch.float64)
        share = t / timesteps
        below, above = (self.plateau[0] - share).clamp(min=0), (share - self.plateau[1]).clamp(min=0)
        prior = (-((below / self.tails[0]) ** 2 + (above / self.tails[1]) ** 2) / 2).exp()
        prior *= (share >= self.limits[0]) & (share <= self.limits[1])
        # The run goes from the largest timestep to the smallest.
        cumulative = prior.flip(0).cumsum(0) / prior.sum()
        index = int(torch.searchsorted(cumulative, torch.tensor(progress, dtype=torch.float64)))
        lowest, highest = int(t[prior > 0].min()), int(t[prior > 0].max())
        chosen = min(max(timesteps - 1 - index, lowest), highest)
        return torch.full((count,), chosen, device=generator.device)
