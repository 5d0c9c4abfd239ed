"""Timestep samplers for training: uniform, or importance sampling by past losses."""

from typing import Protocol

import torch
from accelerate.utils import gather
from torch import Tensor

from core.training.trainer import stratified_timesteps


class TimestepSampler(Protocol):
    """Samples timesteps, with weights that make the expected weighted loss that of uniform timesteps."""

    def draw(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Timesteps (count,) in [0, T) and weights (count,) 1 / (T p(t)), from torch's global generators."""
        ...

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Records the unweighted losses (N,) of timesteps (N,). All processes must call it together."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """The state that an exact resume needs."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores the state of `state_dict`."""
        ...


class UniformTimesteps:
    """Uniform timesteps in strata, see `stratified_timesteps`, or shifted ones; all weights are 1."""

    def __init__(self, timesteps: int, shift: float = 1.0) -> None:
        """shift: s moves a uniform u in [0, 1) to s u / (1 + (s - 1) u) (Esser et al. 2024, equation 23).

        Above 1 more steps go to large noise, where the text decides what the image shows; the loss is then
        another one.
        """
        self.timesteps, self.shift = timesteps, shift

    def draw(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Stratified timesteps (count,) and weights of 1."""
        t = stratified_timesteps(count, self.timesteps, device)
        if self.shift != 1:
            t = (self.shift * t / (1 + (self.shift - 1) * t / self.timesteps)).long()
        return t, torch.ones(count, device=device)

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Does nothing: the distribution is fixed."""

    def state_dict(self) -> dict[str, Tensor]:
        """An empty state."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Does nothing: there is no state."""


class ImportanceTimesteps:
    """Importance sampling with p(t) proportional to sqrt(E[L_t^2]) (Nichol & Dhariwal 2021, equation 18).

    This minimizes the variance of the loss. The expectation is over the last `history` losses of each
    timestep; p is uniform until every timestep has that many. uniform: fraction of draws that are always
    uniform, so that no timestep is excluded for good.
    """

    def __init__(self, timesteps: int, history: int = 10, uniform: float = 1e-3) -> None:
        self.uniform = uniform
        self.losses = torch.zeros(timesteps, history, dtype=torch.float64)
        self.counts = torch.zeros(timesteps, dtype=torch.int64)

    def probabilities(self) -> Tensor:
        """Probabilities p(t), (T,) float64."""
        timesteps, history = self.losses.shape
        uniform = torch.full((timesteps,), 1 / timesteps, dtype=torch.float64)
        root = self.losses.square().mean(1).sqrt()
        if self.counts.min() < history or root.sum() == 0:
            return uniform
        return (1 - self.uniform) * root / root.sum() + self.uniform * uniform

    def draw(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Timesteps (count,) drawn from p(t) and weights (count,) 1 / (T p(t))."""
        p = self.probabilities()
        t = torch.multinomial(p, count, replacement=True)
        return t.to(device), (1 / (len(p) * p[t])).float().to(device)

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Records the losses (N,) of timesteps (N,) of all processes over the oldest ones."""
        history = self.losses.shape[1]
        t, losses = gather(t), gather(losses)  # pyright: ignore[reportAssignmentType]
        for i, loss in zip(t.tolist(), losses.tolist(), strict=True):
            self.losses[i, self.counts[i] % history] = loss  # replaces the oldest
            self.counts[i] += 1

    def state_dict(self) -> dict[str, Tensor]:
        """The recorded losses and their counts."""
        return {"losses": self.losses, "counts": self.counts}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores a state. Raises ValueError when its number of timesteps or its history differs."""
        if state["losses"].shape != self.losses.shape:
            raise ValueError(f"losses {tuple(state['losses'].shape)}, expected {tuple(self.losses.shape)}")
        self.losses, self.counts = state["losses"].clone(), state["counts"].clone()
