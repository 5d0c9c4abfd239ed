"""Measures plans on tasks of each kind, against behavior cloning on the same trajectories.

python -m examples.stacking.evaluate runs/stacking-4/model --out report.json
"""

from __future__ import annotations

from functools import partial
from typing import Any

from examples.planning.cloning import clone
from examples.planning.control import Outcome, follow_controller, follow_plans
from examples.planning.environment import Array
from examples.planning.evaluate import run
from examples.planning.planner import Planner
from examples.stacking.blocks import Blocks, make_blocks
from examples.stacking.tasks import KINDS, draw_tasks, right
from examples.stacking.train import make_data

EVERY = 4  # steps from one plan to the next, of a receding horizon


def scores(blocks: Blocks, outcome: Outcome, goals: Array) -> dict[str, float]:
    """Shares of tasks and of blocks that are right in the end, and seconds of planning a task."""
    found = right(blocks, outcome.states[:, -1], goals)
    seconds = outcome.seconds / len(goals)
    return {"tasks": float(found.all(axis=1).mean()), "blocks": float(found.mean()), "seconds": seconds}


def evaluate(
    planner: Planner[Blocks], count: int, trajectories: int, cloning_steps: int, seed: int
) -> dict[str, Any]:
    """The report on `count` tasks of each kind; trajectories and seed are those of the training.

    Each kind has a cloned controller of its own, whose goals are known in the same entries.
    """
    blocks, length = planner.model.environment, planner.model.length
    states, actions, towers = make_data(blocks, trajectories, seed)
    report: dict[str, Any] = {**blocks.config, "tasks": count, "length": length}
    for kind, goal_of in KINDS.items():
        rows = slice(None) if kind == "rearrangement" else towers
        cloned = clone(blocks, states[rows], actions[rows], cloning_steps, seed, partial(goal_of, blocks))
        tasks = draw_tasks(blocks, kind, count, seed + 1)

        outcomes = {
            "behavior cloning": follow_controller(blocks, cloned, tasks, length),
            "one plan": follow_plans(planner, tasks, length, seed + 2),
            "receding horizon": follow_plans(planner, tasks, length, seed + 2, EVERY),
            "receding horizon, warm starts": follow_plans(planner, tasks, length, seed + 2, EVERY, warm=True),
        }
        report[kind] = {name: scores(blocks, outcome, tasks.goals) for name, outcome in outcomes.items()}
    return report


def main() -> None:
    """The command."""
    run(__doc__, make_blocks, evaluate, {"tasks": 100, "trajectories": 8000})


if __name__ == "__main__":
    main()
