"""Control in a maze: plans that are followed and renewed, and scores of many pairs of start and goal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from examples.planning.maze import Array, Maze, center
from examples.planning.planner import Planner, make_generators
from examples.planning.trajectories import OFFSET

REACHED = 0.5  # cells from the goal, as in Maze2D

Controller = Callable[[Array, Array], Array]
"""States (B,4) and goals (B,2) to actions (B,2)."""


class Pairs(NamedTuple):
    """Starts at rest (B,4), goals (B,2), and the length of the shortest path between their cells, (B,)."""

    states: Array
    goals: Array
    cells: Array


class Outcome(NamedTuple):
    """What came of the pairs: the states (B,L+1,4), and the seconds of planning for all of them."""

    states: Array
    seconds: float

    def reached(self, goals: Array) -> Array:
        """Whether the state came within `REACHED` of its goal at some time, (B,)."""
        distance = np.linalg.norm(self.states[..., :2] - goals[:, None], axis=-1)
        return (distance < REACHED).any(axis=1)


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


def follow_controller(maze: Maze, controller: Controller, pairs: Pairs, length: int) -> Outcome:
    """`length` steps of a controller."""
    states = [pairs.states]
    for _ in range(length):
        states.append(maze.step(states[-1], controller(states[-1], pairs.goals)))
    return Outcome(np.stack(states, axis=1), 0.0)


def follow_plans(
    planner: Planner, pairs: Pairs, length: int, seed: int, every: int | None = None, warm: bool = False
) -> Outcome:
    """Plans of `length` steps, followed to their end.

    every: renew the plans after so many steps, over the rest of the length (receding horizon), a multiple of
        the network's stride; None keeps the first ones. warm: renew them by warm starts.
    """
    maze, generators = planner.model.maze, make_generators(len(pairs.states), seed)
    states = [pairs.states]
    started = time.perf_counter()
    plans = planner.plan(pairs.states, pairs.goals, length, generators)
    seconds = time.perf_counter() - started
    for i in range(1, length):
        target = plans[:, plans.shape[1] - length + i, :2]
        states.append(maze.step(states[-1], maze.action_towards(states[-1], target)))
        if every and i % every == 0 and length - i >= every:
            started = time.perf_counter()
            former = plans[:, -(length - i) :] if warm else None
            plans = planner.plan(states[-1], pairs.goals, length - i, generators, former)
            seconds += time.perf_counter() - started
    return Outcome(np.stack(states, axis=1), seconds)
