"""Drawings of mazes with plans, and the clip of plans as they denoise.

python -m examples.planning.drawing runs/planning-large/model --out plans.webp
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from core.io.clips.write import write_clip
from core.io.pictures import Frames
from examples.command_line import at_least, exit_on_user_error
from examples.planning.control import Pairs, draw_pairs
from examples.planning.environment import Array
from examples.planning.evaluate import LENGTHS
from examples.planning.mazes.maze import Maze
from examples.planning.mazes.pointmaze import make_maze
from examples.planning.model import TrajectoryModel
from examples.planning.planner import Planner, make_generators

HELD = 12  # frames for which the finished plans are shown


def draw_maze(axes: Any, maze: Maze, title: str = "") -> None:
    """Draws the walls of a maze, one unit a cell."""
    height, width = maze.walls.shape
    axes.imshow(maze.walls, cmap="gray_r", vmax=1.6, extent=(0, width, height, 0), interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)


def draw_path(axes: Any, states: Array, color: Any = None, dots: bool = True) -> None:
    """Draws states (L,4): colored by time from blue to yellow, or in one color."""
    x, y = states[:, 0], states[:, 1]
    axes.plot(x, y, color=color or "0.6", linewidth=1.2, zorder=2)
    if dots:
        axes.scatter(x, y, c=np.arange(len(x)) if color is None else [color] * len(x), s=7, zorder=3)


def draw_ends(axes: Any, start: Array, goal: Array) -> None:
    """Marks the start by a green disc and the goal by a red star."""
    axes.scatter([start[0]], [start[1]], s=60, c="tab:green", edgecolors="white", zorder=4)
    axes.scatter([goal[0]], [goal[1]], s=110, c="tab:red", marker="*", edgecolors="white", zorder=4)


def denoising_frames(planner: Planner[Maze], pairs: Pairs, length: int, seed: int) -> Frames:
    """Frames (F,H,W,3) of the plans of some pairs, side by side, as predicted at every denoising step."""
    model, count = planner.model, len(pairs.states)
    height, width = model.environment.walls.shape
    figure, panels = plt.subplots(
        1, count, figsize=(count * 2.4, 2.4 * height / width), dpi=64, squeeze=False
    )
    figure.subplots_adjust(0, 0, 1, 1, 0.02, 0)
    frames: list[Any] = []
    for state in planner.sample(pairs.states, pairs.goals, length, make_generators(count, seed)):
        plans = model.to_states(state.x0)
        for i, axes in enumerate(panels[0]):
            axes.clear()
            draw_maze(axes, model.environment)
            draw_path(axes, plans[i])
            draw_ends(axes, pairs.states[i], pairs.goals[i])
            axes.set_xlim(0, width)
            axes.set_ylim(height, 0)
        figure.canvas.draw()
        frames.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())  # pyright: ignore
    plt.close(figure)
    return np.stack(frames + [frames[-1]] * HELD)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--plans", type=at_least(1), default=3)
    parser.add_argument("--steps", type=at_least(1), default=50)
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument(
        "--farther-than", type=at_least(0), default=0, help="cells between start and goal, at least"
    )
    parser.add_argument("--out", type=Path, required=True, help=".webp, .gif or .mp4")
    options = parser.parse_args()
    plt.switch_backend("agg")
    with exit_on_user_error(options.out):
        planner = Planner(TrajectoryModel.load(options.model, make_maze), options.steps, warm_steps=1)
        maze = planner.model.environment
        pairs = draw_pairs(maze, options.plans, options.seed, options.farther_than)
        write_clip(options.out, denoising_frames(planner, pairs, LENGTHS[maze.name], options.seed), fps=12)


if __name__ == "__main__":
    main()
