"""Two Q functions and their targets."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class DoubleQ(nn.Module):
    """Two independent Q functions of states (B,S) and actions (B,A) (Fujimoto et al. 2018, "TD3")."""

    def __init__(self, state_width: int, action_width: int, width: int = 256, normed: bool = False) -> None:
        """normed: with layer norms, which bound the values of actions outside the data (Ball et al. 2023)."""
        super().__init__()

        def layer(inputs: int) -> list[nn.Module]:
            return [nn.Linear(inputs, width), nn.LayerNorm(width) if normed else nn.Identity(), nn.SiLU()]

        def q_function() -> nn.Sequential:
            layers = [*layer(state_width + action_width), *layer(width), *layer(width)]
            return nn.Sequential(*layers, nn.Linear(width, 1))

        self.first, self.second = q_function(), q_function()

    def forward(self, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Both values, each (B,)."""
        x = torch.cat([states, actions], dim=1)
        return self.first(x)[:, 0], self.second(x)[:, 0]

    def lower(self, states: Tensor, actions: Tensor) -> Tensor:
        """The lower one of both values, (B,)."""
        return torch.minimum(*self(states, actions))


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy without gradients: a target network."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, network: nn.Module, rate: float) -> None:
    """Moves the weights of a target: target += rate (network - target)."""
    for moving, weight in zip(target.parameters(), network.parameters(), strict=True):
        moving.lerp_(weight, rate)
