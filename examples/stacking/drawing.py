"""Drawings of blocks, and the clip of tasks as they are carried out.

python -m examples.stacking.drawing runs/stacking-4/model --out stacking.webp
python -m examples.stacking.drawing runs/stacking-4/model --plan plan.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from core.io.clips.write import write_clip
from core.io.pictures import Frames
from examples.command_line import at_least, exit_on_user_error
from examples.planning.control import follow_plans
from examples.planning.environment import Array
from examples.planning.model import TrajectoryModel
from examples.planning.planner import Planner, make_generators
from examples.stacking.blocks import Blocks, make_blocks
from examples.stacking.evaluate import EVERY
from examples.stacking.tasks import KINDS, draw_tasks

COLORS = ["tab:red", "tab:blue", "tab:green", "tab:orange", "tab:purple", "tab:brown"]
FINGER = 0.12  # width, in blocks
HELD = 12  # frames for which the end is shown


def draw_blocks(axes: Any, blocks: Blocks, state: Array, title: str = "") -> None:
    """Draws a state (S,): the table, the blocks with their numbers, and the gripper."""
    right = blocks.high[0] + 0.5
    axes.clear()
    axes.set_xlim(-0.2, right + 0.2)
    axes.set_ylim(-0.3, blocks.high[1] + 1)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
    axes.add_patch(Rectangle((-0.2, -0.3), right + 0.4, 0.3, color="0.75"))
    for number, (x, y) in enumerate(blocks.places(state)):
        corner = (x - 0.5, y - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=COLORS[number], edgecolor="white"))
        axes.text(x, y, str(number + 1), color="white", ha="center", va="center", fontsize=9)
    (x, y), opening = state[:2], 0.5 if blocks.held(state).any() else 0.7
    for left in (x - opening - FINGER / 2, x + opening - FINGER / 2):
        axes.add_patch(Rectangle((left, y - 0.2), FINGER, 0.9, color="0.2", zorder=3))
    axes.add_patch(Rectangle((x - 0.75, y + 0.7), 1.5, FINGER, color="0.2", zorder=3))
    axes.plot([x, x], [y + 0.8, blocks.high[1] + 2], color="0.2", linewidth=1.5, zorder=3)


def goal_title(blocks: Blocks, kind: str, goal: Array) -> str:
    """The kind of task; and its towers from left to right, each from below, as far as they are known."""
    places = blocks.places(goal)
    if np.isnan(places[:, 1]).any():
        return kind
    columns = np.round(np.nan_to_num(places[:, 0]), 3)
    towers = [
        "".join(str(i + 1) for i in np.argsort(places[:, 1]) if columns[i] == x) for x in np.unique(columns)
    ]
    return f"{kind}: {' '.join(towers)}"


def task_frames(planner: Planner[Blocks], seed: int) -> Frames:
    """Frames (F,H,W,3) of one task of each kind, side by side, as its renewed plans are followed."""
    blocks, length = planner.model.environment, planner.model.length
    figure, panels = plt.subplots(1, len(KINDS), figsize=(3.0 * len(KINDS), 2.2), dpi=72)
    figure.subplots_adjust(0, 0, 1, 0.9, 0.02, 0)
    tasks = {kind: draw_tasks(blocks, kind, 1, seed) for kind in KINDS}
    states = [follow_plans(planner, t, length, seed, EVERY).states[0] for t in tasks.values()]
    frames: list[Any] = []
    for row in zip(*states, strict=True):
        for axes, state, (kind, task) in zip(panels, row, tasks.items(), strict=True):
            draw_blocks(axes, blocks, state, goal_title(blocks, kind, task.goals[0]))
        figure.canvas.draw()
        frames.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())  # pyright: ignore
    plt.close(figure)
    moving = [i for i in range(1, len(frames)) if (frames[i] != frames[i - 1]).any()]
    return np.stack(frames[: moving[-1] + 1 if moving else 1] + [frames[-1]] * HELD)


def draw_plan(planner: Planner[Blocks], kind: str, seed: int, pictures: int) -> Any:
    """A figure of one plan, from its first state to its last in so many pictures."""
    blocks, length = planner.model.environment, planner.model.length
    task = draw_tasks(blocks, kind, 1, seed)
    plan = planner.plan(task.states, task.goals, length, make_generators(1, seed))[0]
    figure, panels = plt.subplots(2, pictures // 2, figsize=(1.2 * pictures, 3.6), dpi=80)
    figure.suptitle(goal_title(blocks, kind, task.goals[0]), fontsize=9)
    for axes, step in zip(panels.flat, np.linspace(0, length - 1, pictures).round().astype(int), strict=True):
        draw_blocks(axes, blocks, plan[step], f"step {step}")
    figure.tight_layout()
    return figure


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--steps", type=at_least(1), default=50)
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--kind", choices=KINDS, default="stacking in order", help="of the plan's task")
    parser.add_argument("--pictures", type=at_least(1), default=10, help="of the plan")
    parser.add_argument("--out", type=Path, help="clip: .webp, .gif or .mp4")
    parser.add_argument("--plan", type=Path, help="picture of a plan: .png")
    options = parser.parse_args()
    plt.switch_backend("agg")
    with exit_on_user_error(options.out, options.plan):
        planner = Planner(TrajectoryModel.load(options.model, make_blocks), options.steps, warm_steps=1)
        if options.out:
            write_clip(options.out, task_frames(planner, options.seed), fps=8)
        if options.plan:
            draw_plan(planner, options.kind, options.seed, options.pictures).savefig(options.plan)


if __name__ == "__main__":
    main()
