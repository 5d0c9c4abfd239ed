"""Behavior cloning with goals, the baseline: a network from state and goal to the controller's action."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from examples.planning.control import Controller
from examples.planning.environment import Array, Environment

WIDTH = 256

GoalOf = Callable[[Array], Array]
"""States (B,S) to goals (B,G) that they fulfill."""


def clone(
    environment: Environment,
    states: Array,
    actions: Array,
    steps: int,
    seed: int,
    goal_of: GoalOf | None = None,
    batch_size: int = 256,
) -> Controller:
    """Trains on states (N,L,S) and actions (N,L,A): the goal is that of a later state of the trajectory.

    This is goal-conditioned behavior cloning with relabeled goals (Ghosh et al. 2021, "Learning to Reach
    Goals via Iterated Supervised Learning"), on the data of one round.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    goal_of = goal_of or environment.goal_of
    observed = environment.observe(states[:1, 0], goal_of(states[:1, 0])).shape[1]
    network = nn.Sequential(
        nn.Linear(observed, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, actions.shape[-1]),
        nn.Tanh(),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    rates = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    length = states.shape[1]

    def inputs(state: Array, goal: Array) -> torch.Tensor:
        return torch.from_numpy(environment.observe(state, goal)).float()

    for _ in range(steps):
        row, now = rng.integers(len(states), size=batch_size), rng.integers(length - 1, size=batch_size)
        later = rng.integers(now + 1, length)
        predicted = network(inputs(states[row, now], goal_of(states[row, later])))
        loss = F.mse_loss(predicted, torch.from_numpy(actions[row, now]).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()

    @torch.no_grad()
    def controller(state: Array, goal: Array) -> Array:
        return network(inputs(state, goal)).double().numpy()

    return controller
