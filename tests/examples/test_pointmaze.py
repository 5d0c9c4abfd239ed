"""PointMaze of gymnasium-robotics: our interface to it against the environment's own steps."""

import json
import sys

import numpy as np
import pytest

from core.errors import UserError
from examples.planning import train
from examples.planning.control import draw_pairs, follow_controller
from examples.planning.mazes.maze import Maze, center
from examples.planning.mazes.pointmaze import REPEAT, PointMaze, make_maze
from examples.planning.mazes.trajectories import make_trajectories

pytest.importorskip("gymnasium_robotics")


@pytest.fixture(scope="module")
def maze():
    return PointMaze("u")


def test_a_step_is_as_many_steps_of_the_environment(maze):
    """From where the environment resets to, into walls too; success is what its own reward is for."""
    task, rng = maze.task, np.random.default_rng(0)
    shown, _ = task.reset(seed=3)
    state = maze.from_simulator(shown["observation"][:2], shown["observation"][2:])
    goal = maze.from_simulator(shown["desired_goal"], np.zeros(2))[:2]
    moved = [state]
    for _ in range(40):
        action = np.sign(rng.uniform(-1, 1, 2))
        for _ in range(REPEAT):
            shown, reward, _, _, info = task.step(action * [1, -1])
        state = maze.step(state, action)
        expected = maze.from_simulator(shown["observation"][:2], shown["observation"][2:])
        np.testing.assert_allclose(state, expected, atol=1e-6)
        assert info["success"] == (np.linalg.norm(state[:2] - goal) <= maze.goal_radius) == bool(reward)
        state = expected
        moved.append(state)
    stopped = np.abs(np.diff(np.array(moved)[:, :2], axis=0)).min(axis=1) < 1e-3
    assert stopped.any() and not stopped.all()


@pytest.mark.parametrize("name", ["u", "medium", "large"])
def test_the_walls_are_those_of_our_maze(name):
    """Every cell that we hold for free is one where the environment places the ball."""
    point = PointMaze(name)
    places = np.array([center(cell) for cell in Maze(name).cells])
    position, _ = point.to_simulator(np.concatenate([places, np.zeros_like(places)], axis=1))
    inner = point.task.unwrapped.maze
    expected = np.array(inner.unique_reset_locations)
    assert sorted(map(tuple, position)) == sorted(map(tuple, expected))


def test_between_walls_the_dynamics_are_those_of_a_damped_mass(maze):
    """MuJoCo's implicit Euler step by hand: v' = (v + h f / m) / (1 + h d / m), p' = p + h v'."""
    h, mass, damping, force = 0.01, 1000 * 4 / 3 * np.pi * 0.1**3, 1.0, 100.0
    position, velocity, action = 1.5, 0.4, 0.6
    state = np.array([position, 1.5, velocity * REPEAT * h, 0.0])
    for _ in range(REPEAT):
        velocity = (velocity + h * force * action / mass) / (1 + h * damping / mass)
        position += h * velocity
    np.testing.assert_allclose(
        maze.step(state, np.array([action, 0.0])), [position, 1.5, velocity * REPEAT * h, 0.0], atol=1e-9
    )


def test_a_recorded_trajectory_is_followed(maze):
    states, _ = make_trajectories(maze, 40, 32, seed=1)
    assert np.abs(states[..., 2:]).max() < maze.top_speed * 1.1
    state = states[:, 0]
    for i in range(1, 32):
        state = maze.step(state, maze.action_towards(state, states[:, i]))
        assert np.abs(state - states[:, i])[:, :2].max() < 0.1


def test_the_controller_comes_to_rest_at_its_target(maze):
    pairs = draw_pairs(maze, 12, seed=0)
    pairs = pairs._replace(goals=pairs.states[:, :2] + [0.0, 0.15])
    outcome = follow_controller(maze, maze.action_to_rest, pairs, 25)
    np.testing.assert_allclose(outcome.states[:, -1, :2], pairs.goals, atol=0.02)
    assert np.abs(outcome.states[:, -1, 2:]).max() < 0.02


def test_a_model_remembers_that_its_maze_is_mujocos(tmp_path, monkeypatch):
    arguments = "train --maze u --mujoco --steps 1 --trajectories 20 --batch-size 4 --widths 16 16 --run"
    monkeypatch.setattr(sys, "argv", [*arguments.split(), str(tmp_path)])
    train.main()
    settings = json.loads((tmp_path / "model" / "config.json").read_text())
    assert isinstance(make_maze(settings), PointMaze) and "mujoco" not in settings
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(UserError, match="pip install"):
        PointMaze("u")
