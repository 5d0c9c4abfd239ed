"""gymnasium-robotics' PointMaze: the same mazes with the dynamics of MuJoCo."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.errors import UserError
from examples.planning.environment import Array
from examples.planning.mazes.maze import Maze

TASKS = {"u": "PointMaze_UMaze-v3", "medium": "PointMaze_Medium-v3", "large": "PointMaze_Large-v3"}
REPEAT = 6  # steps of the simulator for one of ours, by the same action
LIMIT = 5.0  # of the velocity along an axis, in cells a second: PointEnv clips it there
BRAKING = 0.8  # of the acceleration of a full action, on the way to rest


class PointMaze(Maze):
    """A ball that is pushed along two axes, of 4.2 kg, among walls as soft as MuJoCo's contacts.

    States, actions and goals are those of `Maze`: y points downward, and velocities are in cells for one of
    our steps, which takes `REPEAT` steps of 10 ms.
    """

    top_speed = LIMIT * REPEAT * 0.01
    goal_radius = 0.45  # as in PointMaze's own reward

    def __init__(self, name: str) -> None:
        """name: u, medium or large. Raises UserError for another, or where gymnasium-robotics is missing."""
        super().__init__(name)
        try:
            import gymnasium  # pyright: ignore[reportMissingImports]
            import gymnasium_robotics  # pyright: ignore[reportMissingImports]
            import mujoco  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UserError('PointMaze needs MuJoCo: pip install -e ".[examples-rl]".') from error
        gymnasium.register_envs(gymnasium_robotics)
        self.simulator: Any = mujoco
        self.task: Any = gymnasium.make(TASKS[name])
        self.physics: Any = self.task.unwrapped.point_env.model
        self.data: Any = self.simulator.MjData(self.physics)
        self.pace = REPEAT * self.physics.opt.timestep  # cells a step for each cell a second
        height, width = self.walls.shape
        self.corner = np.array([-width / 2, height / 2])
        self._fit_dynamics()

    @property
    def config(self) -> dict[str, Any]:
        """The entries of a model's file."""
        return {"maze": self.name, "mujoco": True}

    def step(self, state: Array, action: Array) -> Array:
        """The next state, by the simulator."""
        rows = np.broadcast_arrays(state.reshape(-1, 4), np.zeros(4))[0]
        following = [self._simulate(row, push) for row, push in zip(rows, action.reshape(-1, 2), strict=True)]
        return np.stack(following).reshape(state.shape)

    def to_simulator(self, state: Array) -> tuple[Array, Array]:
        """Position and velocity (...,2) in the simulator: y upward from the middle, cells a second."""
        position = self.corner + state[..., :2] * [1, -1]
        return position, state[..., 2:] * [1, -1] / self.pace

    def from_simulator(self, position: Array, velocity: Array) -> Array:
        """The inverse of `to_simulator`."""
        place = (position - self.corner) * [1, -1]
        return np.concatenate([place, velocity * [1, -1] * self.pace], axis=-1)

    def action_towards(self, state: Array, planned: Array) -> Array:
        """The action (...,2) that leads closest to a state (...,4), in position and velocity.

        Position alone would not do: an action may be right for it and leave the velocity to grow.
        """
        miss = planned - state @ self.drift
        return np.clip(miss @ self.push.T / (self.push[0] @ self.push[0]), -1, 1)

    def action_to_rest(self, state: Array, target: Array) -> Array:
        """The action (...,2) on the way to a target (...,2), of a speed that can be braked to rest there."""
        distance = target - state[..., :2]
        fastest = np.sqrt(2 * BRAKING * self.push[0, 2] * np.abs(distance))
        speed = np.minimum(np.minimum(self.top_speed, fastest), 0.5 * np.abs(distance))
        wanted = np.sign(distance) * speed
        return np.clip((wanted - self.drift[2, 2] * state[..., 2:]) / self.push[0, 2], -1, 1)

    def _simulate(self, state: Array, action: Array) -> Array:
        self.data.qpos[:], velocity = self.to_simulator(state)
        self.data.qvel[:] = velocity
        self.data.qacc_warmstart[:] = 0
        self.data.ctrl[:] = np.clip(action * [1, -1], -1, 1)
        for _ in range(REPEAT):
            np.clip(self.data.qvel, -LIMIT, LIMIT, out=self.data.qvel)
            self.simulator.mj_step(self.physics, self.data)
        return self.from_simulator(self.data.qpos.copy(), self.data.qvel.copy())

    def _fit_dynamics(self) -> None:
        """Between walls and below the limit of speed, the next state is state drift + action push.

        The matrices (4,4) and (2,4) are read from steps in the middle of a cell.
        """
        middle = np.array([*np.add(self.cells[0], 0.5), 0.0, 0.0])
        small = 0.1 * self.top_speed
        still = np.zeros(2)
        basis = np.eye(4)
        self.drift = np.eye(4)
        for i in (2, 3):
            self.drift[i] = (self._simulate(middle + small * basis[i], still) - middle) / small
        self.push = np.stack([(self._simulate(middle, 0.1 * axis) - middle) / 0.1 for axis in np.eye(2)])


def make_maze(settings: dict[str, Any]) -> Maze:
    """The maze of a model's settings, from which its entries are taken: `maze`, and `mujoco` if it is."""
    name = settings.pop("maze")
    return PointMaze(name) if settings.pop("mujoco", False) else Maze(name)
