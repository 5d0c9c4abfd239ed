"""Control: plans that are followed and renewed, controllers, and pairs of start and goal in a maze."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from examples.planning.environment import Array, Environment
from examples.planning.mazes.maze import Maze, center
from examples.planning.mazes.trajectories import OFFSET
from examples.planning.planner import Planner, make_generators

Controller = Callable[[Array, Array], Array]
"""States (B,S) and goals (B,G) to actions (B,A)."""


class Tasks(Protocol):
    """Starts (B,S) and goals (B,G) of an environment."""

    @property
    def states(self) -> Array:
        """The first states."""
        ...

    @property
    def goals(self) -> Array:
        """What is to be reached from them."""
        ...


class Pairs(NamedTuple):
    """Starts at rest (B,4), goals (B,2), and the length of the shortest path between their cells, (B,)."""

    states: Array
    goals: Array
    cells: Array


class Outcome(NamedTuple):
    """What came of tasks: the states (B,L,S) from the start on, and the seconds of planning for all."""

    states: Array
    seconds: float

    def reached(self, goals: Array, radius: float = Maze.goal_radius) -> Array:
        """Whether the position came so close to its goal (B,2) at some time, (B,)."""
        distance = np.linalg.norm(self.states[..., :2] - goals[:, None], axis=-1)
        return (distance < radius).any(axis=1)


def draw_pairs(maze: Maze, count: int, seed: int, farther_than: int = 0) -> Pairs:
    """Random pairs of different cells whose shortest path is longer than so many cells."""
    rng = np.random.default_rng(seed)
    table = maze.distance_table()
    pairs = [(a, b) for a in maze.cells for b in maze.cells if table[a][b] > farther_than]
    chosen = [pairs[i] for i in rng.integers(len(pairs), size=count)]
    ends = np.array([[center(a), center(b)] for a, b in chosen])
    ends += rng.uniform(-OFFSET, OFFSET, ends.shape)
    states = np.concatenate([ends[:, 0], np.zeros((count, 2))], axis=1)
    return Pairs(states, ends[:, 1], np.array([table[a][b] for a, b in chosen], dtype=float))


def follow_controller(environment: Environment, controller: Controller, tasks: Tasks, length: int) -> Outcome:
    """`length` steps of a controller."""
    states = [tasks.states]
    for _ in range(length):
        states.append(environment.step(states[-1], controller(states[-1], tasks.goals)))
    return Outcome(np.stack(states, axis=1), 0.0)


def follow_plans(
    planner: Planner[Any], tasks: Tasks, length: int, seed: int, every: int | None = None, warm: bool = False
) -> Outcome:
    """Plans of `length` steps, followed to their end.

    every: renew the plans after so many steps, over the rest of the length (receding horizon), a multiple of
        the network's stride; None keeps the first ones. warm: renew them by warm starts.
    """
    environment, generators = planner.model.environment, make_generators(len(tasks.states), seed)
    states = [tasks.states]
    started = time.perf_counter()
    plans = planner.plan(tasks.states, tasks.goals, length, generators)
    seconds = time.perf_counter() - started
    for i in range(1, length):
        planned = plans[:, plans.shape[1] - length + i]
        states.append(environment.step(states[-1], environment.action_towards(states[-1], planned)))
        if every and i % every == 0 and length - i >= every:
            started = time.perf_counter()
            former = plans[:, -(length - i) :] if warm else None
            plans = planner.plan(states[-1], tasks.goals, length - i, generators, former)
            seconds += time.perf_counter() - started
    return Outcome(np.stack(states, axis=1), seconds)
