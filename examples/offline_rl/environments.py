"""Environments with gymnasium's interface: its own tasks, and a maze that needs no package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from examples.offline_rl.transitions import Array, Transitions
from examples.planning.mazes.maze import TOP_SPEED, Cell, Maze, center
from examples.planning.mazes.trajectories import make_trajectories

Act = Callable[[Tensor], Tensor]
"""States (B,S) to actions (B,A) in [-1, 1]."""


class Environment(Protocol):
    """What is used of gymnasium's environments."""

    def reset(self, *, seed: int) -> tuple[Any, dict[str, Any]]:
        """The first state (S,) of an episode."""
        ...

    def step(self, action: Any, /) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The next state, the reward, and whether the episode ends there for good or by the time."""
        ...


class MazeTask:
    """A maze whose goal is always the same: the reward is 1 where it is reached, which ends the episode.

    States are positions and velocities, scaled to about [-1, 1].
    """

    reached = 0.5  # cells

    def __init__(self, name: str = "u", longest: int = 60) -> None:
        """longest: steps of an episode. The goal is the cell that is farthest from the first one."""
        self.maze, self.longest = Maze(name), longest
        distances = self.maze.distances(self.maze.cells[0])
        self.goal: Cell = max(distances, key=lambda cell: distances[cell][0])
        self.state, self.steps = np.zeros(4), 0

    def scaled(self, states: Any) -> Array:
        """States (...,4) in cells as the environment shows them."""
        half = self.maze.extent / 2
        return ((states - [half, half, 0, 0]) / [half, half, TOP_SPEED, TOP_SPEED]).astype(np.float32)

    def at_goal(self, states: Any) -> Any:
        """Whether states (...,4) in cells are at the goal."""
        return np.linalg.norm(states[..., :2] - center(self.goal), axis=-1) < self.reached

    def reset(self, *, seed: int) -> tuple[Array, dict[str, Any]]:
        """A start at rest in the middle of a random cell other than the goal's."""
        cells = [cell for cell in self.maze.cells if cell != self.goal]
        start = cells[np.random.default_rng(seed).integers(len(cells))]
        self.state, self.steps = np.concatenate([center(start), np.zeros(2)]), 0
        return self.scaled(self.state), {}

    def step(self, action: Any, /) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One step of the maze."""
        self.state, self.steps = self.maze.step(self.state, np.asarray(action, float)), self.steps + 1
        reached = bool(self.at_goal(self.state))
        return self.scaled(self.state), float(reached), reached, self.steps >= self.longest, {}

    def transitions(self, count: int, length: int, seed: int) -> Transitions:
        """The transitions of `count` trajectories of the scripted controller, which knows no goal."""
        states, actions = make_trajectories(self.maze, count, length, seed)
        before, after = states[:, :-1].reshape(-1, 4), states[:, 1:].reshape(-1, 4)
        reached = self.at_goal(after).astype(np.float32)
        taken = actions[:, :-1].reshape(-1, 2).astype(np.float32)
        return Transitions(self.scaled(before), taken, reached, self.scaled(after), reached)


def run_episodes(environments: Sequence[Environment], act: Act, seed: int) -> Array:
    """Returns (B,) of one episode in each environment, undiscounted; all act in one batch."""
    states = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(environments)])
    returns, running = np.zeros(len(environments), np.float32), list(range(len(environments)))
    while running:
        actions = act(torch.from_numpy(states[running].astype(np.float32))).numpy()
        for row, action in zip(list(running), actions, strict=True):
            states[row], reward, terminated, truncated, _ = environments[row].step(action)
            returns[row] += reward
            if terminated or truncated:
                running.remove(row)
    return returns
