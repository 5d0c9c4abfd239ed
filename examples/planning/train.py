"""Trains a trajectory model of a maze. A run that was interrupted resumes.

python -m examples.planning.train --maze u --run runs/planning-u --steps 3000
"""

import argparse
from pathlib import Path
from typing import Any

from core.training.checkpoint import read_ema
from core.training.config import Budget, TrainingConfig
from core.training.trainer import Trainer
from examples.command_line import at_least, exit_on_user_error
from examples.planning.mazes.maze import Maze
from examples.planning.mazes.pointmaze import make_maze
from examples.planning.mazes.trajectories import longest_span, make_trajectories
from examples.planning.model import TrajectoryModel, TrajectoryTask

LENGTHS = {"u": 32, "medium": 32, "large": 56}  # of the trajectories of a maze, in steps


def train(
    model: TrajectoryModel[Maze], run: Path, steps: int, count: int, batch_size: int, seed: int
) -> None:
    """Trains on `count` trajectories of the maze."""
    states, _ = make_trajectories(model.environment, count, model.length, seed)
    span = longest_span(model.environment, states)
    print(f"{count} trajectories of {model.length} steps, the longest over {span} cells")
    task = TrajectoryTask(model.normalize(states), model.stride)
    fit(model, task, run, steps, batch_size, seed)


def fit(
    model: TrajectoryModel[Any], task: TrajectoryTask, run: Path, steps: int, batch_size: int, seed: int
) -> None:
    """Trains a model, or resumes its run, and writes the averaged weights to `run / model`."""
    config = TrainingConfig(
        batch_size=batch_size, learning_rate=1e-3, seed=seed, compile=False, channels_last=False
    )
    Trainer(model.denoiser, task, config, run).run(Budget(steps=steps))
    model.save(run / "model", read_ema(run))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--maze", choices=LENGTHS, required=True)
    parser.add_argument("--mujoco", action="store_true", help="in gymnasium-robotics' PointMaze")
    parser.add_argument(
        "--run", type=Path, required=True, help="folder of the run; the model is in RUN/model"
    )
    parser.add_argument("--steps", type=at_least(1), default=8000)
    parser.add_argument("--trajectories", type=at_least(1), default=4000)
    parser.add_argument("--batch-size", type=at_least(1), default=64)
    parser.add_argument("--widths", type=at_least(1), nargs="+", default=[32, 64])
    parser.add_argument("--blocks", type=at_least(1), default=1)
    parser.add_argument("--seed", type=at_least(0), default=0)
    options = parser.parse_args()
    with exit_on_user_error():
        maze = make_maze({"maze": options.maze, "mujoco": options.mujoco})
        model = TrajectoryModel(maze, LENGTHS[options.maze], tuple(options.widths), options.blocks)
        train(model, options.run, options.steps, options.trajectories, options.batch_size, options.seed)


if __name__ == "__main__":
    main()
