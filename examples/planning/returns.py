"""Returns of noisy trajectories: the value function that guides a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.diffusion.schedule import NoiseSchedule
from core.training.timesteps import UniformTimesteps
from examples.planning.network import TemporalUNet, known_entries

Reward = Callable[[Tensor], Tensor]
"""Clean trajectories (B,C,L) to the reward of each step, (B,L)."""


class Return(nn.Module):
    """Expected return of noisy trajectories, a `core.guidance.LogDensity`.

    Janner et al. 2022 (Diffuser), section 3.2: J(x_t), of which the gradient guides. The network predicts the
    reward of every step from the noisy steps around it, and the return is their sum: like the trajectory
    model, it is of any length.
    """

    def __init__(self, schedule: NoiseSchedule, channels: int, widths: Sequence[int] = (16, 32)) -> None:
        super().__init__()
        self.schedule = schedule
        self.network = TemporalUNet(channels, widths, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns (B,) of trajectories x (B,C,L) noised to t (B,)."""
        return self.rewards(x, t).sum(dim=1)

    def rewards(self, x: Tensor, t: Tensor) -> Tensor:
        """Expected rewards (B,L) of the steps; the first channel of the network's output."""
        nothing = known_entries(x, torch.zeros_like(x, dtype=torch.bool))
        return self.network(x, t, nothing)[:, 0]

    def loss(self, x0: Tensor, reward: Reward) -> Tensor:
        """Mean squared error of the rewards, (B,), of trajectories x0 (B,C,L) noised to random timesteps."""
        t, _ = UniformTimesteps(self.schedule.timesteps).draw(len(x0), x0.device)
        noisy = self.schedule.add_noise(x0, torch.randn_like(x0), t)
        return F.mse_loss(self.rewards(noisy, t), reward(x0), reduction="none").mean(dim=1)
