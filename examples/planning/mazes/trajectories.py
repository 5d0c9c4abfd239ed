"""Trajectories of a scripted controller: the only thing that planner and baseline learn from.

The controller walks to random goals along shortest paths, rests there for a while, and goes on. The walks are
cut into short trajectories, none of which crosses a large maze from end to end.
"""

from __future__ import annotations

import math

import numpy as np

from examples.planning.environment import Array
from examples.planning.mazes.maze import Cell, Maze, cell_of, center

NOISE = 0.3  # standard deviation of the noise on each action
OFFSET = 0.2  # of the way points from the centers of their cells, at most
NEAR = 0.5  # a way point is passed at this distance, and a goal reached at a third of it
LONGEST_REST = 16  # steps
PIECES = 20  # trajectories that one walk is cut into


class Walker:
    """The goals of one walk, and the way points to them."""

    def __init__(self, maze: Maze, rng: np.random.Generator) -> None:
        self.maze, self.rng = maze, rng
        self.start = self._near(self._draw_cell())
        self._choose_goal(self.start)

    def target(self, position: Array) -> Array:
        """The point (2,) to walk to from a position (2,). It must be called once a step."""
        distance = np.abs(self.path[0] - position).max()
        if len(self.path) > 1 and distance < NEAR:
            self.path.pop(0)
        elif len(self.path) == 1 and distance < NEAR / 3:
            self.rest -= 1
            if self.rest < 0:
                self._choose_goal(position)
        return self.path[0]

    def _choose_goal(self, position: Array) -> None:
        """A new goal, the way points to it, and a time of rest there."""
        cell, goal = cell_of(position), self._draw_cell()
        towards = self.maze.distances(goal, self.rng)
        self.path: list[Array] = []
        while cell != goal:
            cell = towards[cell][1]
            self.path.append(self._near(cell))
        self.path = self.path or [self._near(goal)]
        self.rest = int(self.rng.integers(LONGEST_REST))

    def _draw_cell(self) -> Cell:
        return self.maze.cells[self.rng.integers(len(self.maze.cells))]

    def _near(self, cell: Cell) -> Array:
        return center(cell) + self.rng.uniform(-OFFSET, OFFSET, 2)


def make_trajectories(maze: Maze, count: int, length: int, seed: int) -> tuple[Array, Array]:
    """States (count,length,4) and actions (count,length,2), cut from walks of `PIECES` trajectories each.

    Action i leads from state i to state i + 1, and the last one out of the trajectory. Order and place in
    the walk are lost: nothing tells which trajectory follows which.
    """
    rng = np.random.default_rng(seed)
    walkers = [Walker(maze, rng) for _ in range(math.ceil(count / PIECES))]
    state = np.stack([np.concatenate([walker.start, np.zeros(2)]) for walker in walkers])
    states, actions = [], []
    for _ in range(PIECES * length):
        targets = np.stack([walker.target(row[:2]) for walker, row in zip(walkers, state, strict=True)])
        action = maze.action_to_rest(state, targets)
        action = np.clip(action + NOISE * rng.standard_normal(action.shape), -1, 1)
        states.append(state)
        actions.append(action)
        state = maze.step(state, action)
    order = rng.permutation(PIECES * len(walkers))[:count]
    cut = (np.stack(rows, axis=1).reshape(-1, length, rows[0].shape[-1])[order] for rows in (states, actions))
    return next(cut), next(cut)


def longest_span(maze: Maze, states: Array) -> int:
    """The largest distance, in cells along shortest paths, between two states of one trajectory."""
    table = maze.distance_table()
    longest = 0
    for trajectory in states:
        visited = {cell_of(position) for position in trajectory[:, :2]}
        longest = max(longest, max(table[a][b] for a in visited for b in visited))
    return longest
