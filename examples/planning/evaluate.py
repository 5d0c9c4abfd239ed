"""Measures plans on pairs of start and goal, against behavior cloning on the same trajectories.

python -m examples.planning.evaluate runs/planning-large/model --out report.json

Pairs are drawn from all cells ("any"), and from cells farther apart than the states of any one trajectory of
the data ("far"), where there are such.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from examples.command_line import at_least, exit_on_user_error
from examples.planning.cloning import clone
from examples.planning.control import Controller, Outcome, Pairs, draw_pairs, follow_controller, follow_plans
from examples.planning.mazes.maze import Maze
from examples.planning.mazes.pointmaze import make_maze
from examples.planning.mazes.trajectories import longest_span, make_trajectories
from examples.planning.model import E, TrajectoryModel
from examples.planning.planner import Planner, make_generators

LENGTHS = {"u": 40, "medium": 64, "large": 80}  # of plans, in steps
EVERY = 8  # steps from one plan to the next, of a receding horizon


def compare(
    planner: Planner[Maze], cloned: Controller, pairs: Pairs, length: int, seed: int
) -> dict[str, Any]:
    """For each way of control, the share of pairs that reach the goal, and seconds of planning a pair."""

    maze = planner.model.environment

    def row(outcome: Outcome) -> dict[str, float]:
        reached = outcome.reached(pairs.goals, maze.goal_radius)
        return {"reached": float(reached.mean()), "seconds": outcome.seconds / len(reached)}

    return {
        "behavior cloning": row(follow_controller(maze, cloned, pairs, length)),
        "one plan": row(follow_plans(planner, pairs, length, seed)),
        "receding horizon": row(follow_plans(planner, pairs, length, seed, EVERY)),
        "receding horizon, warm starts": row(follow_plans(planner, pairs, length, seed, EVERY, warm=True)),
    }


def planning_time(planner: Planner[Maze], pairs: Pairs, length: int, seed: int) -> dict[str, float]:
    """Milliseconds of processor time a plan, from noise and by a warm start from that plan."""
    generators, former, times = make_generators(len(pairs.states), seed), None, {}
    for name in ("from noise", "warm start"):
        started = time.process_time()
        former = planner.plan(pairs.states, pairs.goals, length, generators, former)
        times[name] = 1000 * (time.process_time() - started) / len(pairs.states)
    return times


def evaluate(
    planner: Planner[Maze], count: int, trajectories: int, cloning_steps: int, seed: int
) -> dict[str, Any]:
    """The report on `count` pairs of each kind; trajectories and seed are those of the training."""
    model, maze = planner.model, planner.model.environment
    states, actions = make_trajectories(maze, trajectories, model.length, seed)
    cloned = clone(maze, states, actions, cloning_steps, seed)
    span, length = longest_span(maze, states), LENGTHS[maze.name]
    report: dict[str, Any] = {
        **maze.config, "pairs": count, "length": length, "longest trajectory in cells": span,
    }  # fmt: skip
    for kind, farther_than in (("any", 0), ("far", span)):
        table = maze.distance_table()
        if any(cells > farther_than for row in table.values() for cells in row.values()):
            pairs = draw_pairs(maze, count, seed + 1, farther_than)
            report[kind] = compare(planner, cloned, pairs, length, seed + 2)
    pairs = draw_pairs(maze, count, seed + 1)
    report["milliseconds a plan"] = planning_time(planner, pairs, length, seed + 3)
    return report


def run(
    description: str | None,
    make_environment: Callable[[dict[str, Any]], E],
    measure: Callable[[Planner[E], int, int, int, int], dict[str, Any]],
    defaults: Mapping[str, Any],
) -> None:
    """A command that writes the report of a model's plans.

    measure: the report, from the planner, the numbers of tasks, of trajectories and of steps of cloning, and
    the seed. defaults: of the options `tasks` and `trajectories`.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tasks", type=at_least(1), help="pairs of start and goal, of each kind")
    parser.add_argument("--steps", type=at_least(1), default=50, help="denoising steps of a plan from noise")
    parser.add_argument("--warm-steps", type=at_least(1), default=10, help="denoising steps of a warm start")
    parser.add_argument("--trajectories", type=at_least(1), help="as in training")
    parser.add_argument("--cloning-steps", type=at_least(1), default=5000)
    parser.add_argument("--seed", type=at_least(0), default=0, help="as in training")
    parser.add_argument("--out", type=Path, help="JSON file for the report")
    parser.set_defaults(**defaults)
    options = parser.parse_args()
    with exit_on_user_error(options.out):
        model = TrajectoryModel.load(options.model, make_environment)
        planner = Planner(model, options.steps, options.warm_steps)
        report = measure(planner, options.tasks, options.trajectories, options.cloning_steps, options.seed)
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """The command."""
    run(__doc__, make_maze, evaluate, {"tasks": 200, "trajectories": 4000})


if __name__ == "__main__":
    main()
