"""Which timesteps are trained: uniformly, or by what they have cost so far."""

from typing import Protocol

import torch
from accelerate.utils import gather
from torch import Tensor

from core.training.trainer import stratified_timesteps


class TimestepSampler(Protocol):
    """Draws timesteps, and weights whose product with the loss is what uniform timesteps would give."""

    def draw(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """(count,) timesteps in [0, T) and (count,) weights 1 / (T p(t)). From torch's global generators."""
        ...

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Tells what timesteps (N,) have cost, (N,) losses before weighting. By all processes at once."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What must be stored for a run to go on as if it had never stopped."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class UniformTimesteps:
    """Every timestep as often, in strata, see `stratified_timesteps`; all weights are 1."""

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps

    def draw(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        return stratified_timesteps(count, self.timesteps, device), torch.ones(count, device=device)

    def update(self, t: Tensor, losses: Tensor) -> None:
        pass

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        pass


class ImportanceTimesteps:
    """p(t) proportional to sqrt(E[L_t^2]): the loss varies least (Nichol & Dhariwal 2021, equation 18).

    The expectation is over the last `history` losses of each timestep; until all timesteps have so many, p is
    uniform. uniform: the share of draws that always are, so that no timestep is forgotten for good.
    """

    def __init__(self, timesteps: int, history: int = 10, uniform: float = 1e-3) -> None:
        self.uniform = uniform
        self.losses = torch.zeros(timesteps, history, dtype=torch.float64)
        self.counts = torch.zeros(timesteps, dtype=torch.int64)

    def probabilities(self) -> Tensor:
        """p(t), (T,) float64."""
        timesteps, history = self.losses.shape
        even = torch.full((timesteps,), 1 / timesteps, dtype=torch.float64)
        root = self.losses.square().mean(1).sqrt()
        if self.counts.min() < history or root.sum() == 0:
            return even
        return (1 - self.uniform) * root / root.sum() + self.uniform * even

    def draw(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        p = self.probabilities()
        t = torch.multinomial(p, count, replacement=True)
        return t.to(device), (1 / (len(p) * p[t])).float().to(device)

    def update(self, t: Tensor, losses: Tensor) -> None:
        history = self.losses.shape[1]
        t, losses = gather(t), gather(losses)  # pyright: ignore[reportAssignmentType]
        for i, loss in zip(t.tolist(), losses.tolist(), strict=True):
            self.losses[i, self.counts[i] % history] = loss  # over the oldest
            self.counts[i] += 1

    def state_dict(self) -> dict[str, Tensor]:
        return {"losses": self.losses, "counts": self.counts}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Raises ValueError where the state is of other timesteps or another history."""
        if state["losses"].shape != self.losses.shape:
            raise ValueError(f"losses {tuple(state['losses'].shape)}, expected {tuple(self.losses.shape)}")
        self.losses, self.counts = state["losses"].clone(), state["counts"].clone()
