"""Mazes of the kind of Maze2D, in NumPy: a point mass between walls, and shortest paths for data and scores.

The layouts are those of D4RL (Fu et al. 2020, "D4RL: Datasets for Deep Data-Driven Reinforcement Learning",
section 5); the dynamics are simpler than MuJoCo's, and have a closed form between walls.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from examples.planning.environment import Array

Cell = tuple[int, int]

LAYOUTS = {
    "u": ("#####", "#...#", "###.#", "#...#", "#####"),
    "medium": (
        "########", "#..##..#", "#..#...#", "##...###", "#..#...#", "#.#..#.#", "#...#..#", "########",
    ),
    "large": (
        "############", "#....#.....#", "#.##.#.#.#.#", "#......#...#", "#.####.###.#", "#..#.#.....#",
        "##.#.#.#.###", "#..#...#...#", "############",
    ),
}  # fmt: skip

DAMPING, GAIN = 0.7, 0.1  # of a step: v' = DAMPING v + GAIN a, p' = p + v', in cells
RADIUS = 0.1  # half the side of the square that moves
TOP_SPEED = GAIN / (1 - DAMPING)  # cells a step along an axis


class Maze:
    """A maze of square cells of side 1: x grows to the right, y downward, as the layout is written.

    States are (...,4): position and velocity, in cells and cells a step. Actions are (...,2) in [-1, 1].
    Goals are positions (...,2), where a plan ends at rest.
    """

    top_speed = TOP_SPEED
    goal_radius = 0.5  # cells within which a goal is reached, as in Maze2D

    def __init__(self, name: str) -> None:
        """name: u, medium or large. Raises UserError for another."""
        if name not in LAYOUTS:
            raise UserError(f"Unknown maze {name!r}: expected one of {', '.join(LAYOUTS)}.")
        self.name = name
        self.walls = np.array([[symbol == "#" for symbol in row] for row in LAYOUTS[name]])
        self.cells: list[Cell] = [(int(x), int(y)) for y, x in np.argwhere(~self.walls)]

    @property
    def extent(self) -> float:
        """The longer side, in cells."""
        return float(max(self.walls.shape))

    @property
    def config(self) -> dict[str, Any]:
        """The entries of a model's file; see `examples.planning.mazes.pointmaze.make_maze`."""
        return {"maze": self.name}

    @property
    def center(self) -> Array:
        """The middle of the range of states, (4,)."""
        return np.array([self.extent / 2, self.extent / 2, 0.0, 0.0])

    @property
    def scale(self) -> Array:
        """Half the range of states, (4,)."""
        return np.array([self.extent / 2, self.extent / 2, self.top_speed, self.top_speed])

    def step(self, state: Array, action: Array) -> Array:
        """The next state; a wall stops the component of the velocity that runs into it."""
        position, velocity = state[..., :2].copy(), state[..., 2:]
        velocity = DAMPING * velocity + GAIN * np.clip(action, -1, 1)
        for axis in (0, 1):
            moved = position.copy()
            moved[..., axis] += velocity[..., axis]
            front = np.floor(moved[..., axis] + RADIUS * np.sign(velocity[..., axis]))
            contact = np.where(velocity[..., axis] > 0, front - RADIUS, front + 1 + RADIUS)
            blocked = self.touches_wall(moved)
            position[..., axis] = np.where(blocked, contact, moved[..., axis])
            velocity[..., axis] = np.where(blocked, 0, velocity[..., axis])
        return np.concatenate([position, velocity], axis=-1)

    def touches_wall(self, position: Array) -> NDArray[np.bool_]:
        """Whether the square around each position (...,2) overlaps a wall, or lies outside of the maze."""
        touched = np.zeros(position.shape[:-1], dtype=bool)
        height, width = self.walls.shape
        inside = RADIUS * (1 - 1e-9)  # a square that stands at a wall does not overlap it
        for dx in (-inside, inside):
            for dy in (-inside, inside):
                x, y = (np.floor(position[..., axis] + d).astype(int) for axis, d in ((0, dx), (1, dy)))
                within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
                touched |= ~within | self.walls[y.clip(0, height - 1), x.clip(0, width - 1)]
        return touched

    def action_towards(self, state: Array, planned: Array) -> Array:
        """The action (...,2) whose step leads to a position, or as close as actions allow between walls.

        planned: a position (...,2) or a state (...,4), of which the position is read.
        """
        wanted = planned[..., :2] - state[..., :2]
        return np.clip((wanted - DAMPING * state[..., 2:]) / GAIN, -1, 1)

    def action_to_rest(self, state: Array, target: Array) -> Array:
        """The action (...,2) on the way to a target (...,2): at full speed, or so that the mass halts there.

        Without a force the velocity decays by `DAMPING` a step, and the mass comes to rest v DAMPING / (1 -
        DAMPING) farther on.
        """
        halt = state[..., :2] + state[..., 2:] * DAMPING / (1 - DAMPING)
        push = np.clip((target - halt) * (1 - DAMPING) / GAIN, -1, 1)
        return self.action_towards(state, state[..., :2] + DAMPING * state[..., 2:] + GAIN * push)

    def goal_state(self, goal: Array) -> Array:
        """The state of rest at a position (...,2)."""
        return np.concatenate([goal, np.zeros_like(goal)], axis=-1)

    def goal_of(self, states: Array) -> Array:
        """The positions (B,2) of states."""
        return states[:, :2]

    def observe(self, state: Array, goal: Array) -> Array:
        """Position, goal and velocity, (B,6)."""
        places = np.concatenate([state[:, :2], goal], axis=1) / (self.extent / 2) - 1
        return np.concatenate([places, state[:, 2:] / self.top_speed], axis=1)

    def distances(self, goal: Cell, rng: np.random.Generator | None = None) -> dict[Cell, tuple[int, Cell]]:
        """Steps from cell to cell to the goal along shortest paths, and the next cell on one of them.

        rng: chooses among paths of equal length; without it the choice is fixed.
        """
        found = {goal: (0, goal)}
        queue = deque([goal])
        while queue:
            x, y = cell = queue.popleft()
            neighbors = [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]
            if rng is not None:
                rng.shuffle(neighbors)
            for neighbor in neighbors:
                if not self.walls[neighbor[1], neighbor[0]] and neighbor not in found:
                    found[neighbor] = (found[cell][0] + 1, cell)
                    queue.append(neighbor)
        return found

    def distance_table(self) -> dict[Cell, dict[Cell, int]]:
        """Lengths of the shortest paths between all pairs of cells."""
        return {goal: {c: steps for c, (steps, _) in self.distances(goal).items()} for goal in self.cells}


def cell_of(position: Array) -> Cell:
    """The cell that a position (2,) lies in."""
    return int(np.floor(position[0])), int(np.floor(position[1]))


def center(cell: Cell) -> Array:
    """The center (2,) of a cell."""
    return np.array([cell[0] + 0.5, cell[1] + 0.5])
