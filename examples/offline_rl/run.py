"""Trains Diffusion-QL and its baselines on data sets, and writes their normalized scores.

python -m examples.offline_rl.behavior --task hopper --steps 80000 --out data/hopper
python -m examples.offline_rl.run --task hopper --data data/hopper/medium.npz --out scores/hopper-medium.json
python -m examples.offline_rl.run --task maze --out scores/maze.json

A score is 100 times the share of the way from the return of a random policy to that of the best behavior
policy. What is in the file already is not trained again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from core.errors import UserError
from core.io.atomic import atomic_write
from examples.command_line import at_least, exit_on_user_error
from examples.offline_rl.diffuser import Diffuser, Planning
from examples.offline_rl.environments import Act, Environment, MazeTask, run_episodes
from examples.offline_rl.learners import LEARNERS, Batch, DiffusionQL, Learner, Settings
from examples.offline_rl.policy import sample_actions
from examples.offline_rl.transitions import Transitions

EPISODES = 20
PLANNER = "diffuser"  # learns from trajectories, the others from transitions
MAZE_DATA = {"count": 500, "length": 32, "seed": 0}


class Problem(NamedTuple):
    """A data set with the environments in which a policy is scored."""

    transitions: Transitions
    environments: list[Environment]
    random: float
    expert: float

    def score(self, act: Act, seed: int) -> float:
        """The normalized score of a policy."""
        mean = float(run_episodes(self.environments, act, seed).mean())
        return 100 * (mean - self.random) / (self.expert - self.random)


def open_problem(task: str, data: Path | None) -> Problem:
    """The problem of a task: the maze, or one of `behavior.TASKS` with the data at a path."""
    if task == "maze":
        tasks = [MazeTask() for _ in range(EPISODES)]
        return Problem(tasks[0].transitions(**MAZE_DATA), [*tasks], 0.0, 1.0)
    try:
        from examples.offline_rl.behavior import TASKS, make_task
    except ImportError as error:
        raise UserError("This task needs gymnasium: pip install 'dreamlift[examples-rl]'.") from error
    if task not in TASKS:
        raise UserError(f"Unknown task {task!r}: expected maze or one of {', '.join(TASKS)}.")
    if data is None:
        raise UserError(f"The task {task} needs --data: make it with examples.offline_rl.behavior.")
    transitions = Transitions.load(data)
    reference = json.loads((data.parent / "reference.json").read_text(encoding="utf-8"))
    environments: list[Environment] = [make_task(task) for _ in range(EPISODES)]
    return Problem(transitions, environments, reference["random"], reference["expert"])


class Work(NamedTuple):
    """How long a learner is trained, and how."""

    steps: int
    batch: int
    compiled: bool  # the five steps of Diffusion-QL by torch.compile, which needs a C++ compiler


def train(name: str, data: Transitions, settings: Settings, work: Work, seed: int) -> Act:
    """Trains a learner on states of zero mean and unit deviation; returns its policy of plain states."""
    torch.manual_seed(seed)
    mean, deviation = data.states.mean(axis=0), data.states.std(axis=0) + 1e-3
    data = replace(
        data,
        states=(data.states - mean) / deviation,
        next_states=(data.next_states - mean) / deviation,
    )
    generator = torch.Generator().manual_seed(seed)
    batches = (torch.randint(len(data), (work.batch,), generator=generator) for _ in range(work.steps))
    if name == PLANNER:
        planner = Diffuser(data, Planning())
        for rows in batches:
            planner.learn(rows)
        act = planner.act
    else:
        learner: Learner = LEARNERS[name](data.states.shape[1], data.actions.shape[1], settings)
        if work.compiled and isinstance(learner, DiffusionQL):
            learner.sample = torch.compile(sample_actions)
        columns = [torch.from_numpy(column) for column in astuple(data)]
        for rows in batches:
            learner.learn(Batch(*(column[rows] for column in columns)))
        act = learner.act
    return lambda states: act((states - torch.from_numpy(mean)) / torch.from_numpy(deviation))


def read_scores(path: Path, settings: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Scores of a former run by learner and seed, or none.

    Raises UserError where that run had other settings.
    """
    if not path.is_file():
        return {}
    report = json.loads(path.read_text(encoding="utf-8"))
    for name, value in settings.items():
        if report.get(name) != value:
            raise UserError(
                f"{path} is of a run with another {name} ({report.get(name)}): give another --out."
            )
    return report["scores"]


def summarize(scores: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, by learner."""
    values = {name: np.array(list(by_seed.values())) for name, by_seed in scores.items()}
    return {name: {"mean": float(v.mean()), "deviation": float(v.std())} for name, v in values.items()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--task", required=True)
    parser.add_argument(
        "--data", type=Path, help=".npz of examples.offline_rl.behavior, beside its reference.json"
    )
    parser.add_argument("--learners", nargs="+", choices=[*LEARNERS, PLANNER], default=list(LEARNERS))
    parser.add_argument("--seeds", type=at_least(1), default=3)
    parser.add_argument("--steps", type=at_least(1), default=10_000)
    parser.add_argument("--batch-size", type=at_least(1), default=256)
    parser.add_argument("--width", type=at_least(1), default=Settings.width)
    parser.add_argument("--eta", type=float, default=Settings.eta)
    parser.add_argument("--max-q-backup", action="store_true")
    parser.add_argument("--reward-shift", type=float, default=Settings.reward_shift)
    parser.add_argument("--normed-q", action="store_true", help="layer norms in the Q functions")
    parser.add_argument("--rate", type=float, default=Settings.rate, help="of the targets' moving averages")
    parser.add_argument("--learning-rate", type=float, default=Settings.learning_rate)
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile for Diffusion-QL; needs a C++ compiler"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the scores")
    options = parser.parse_args()
    settings = Settings(
        width=options.width,
        learning_rate=options.learning_rate,
        eta=options.eta,
        max_q_backup=options.max_q_backup,
        reward_shift=options.reward_shift,
        normed_q=options.normed_q,
        rate=options.rate,
    )
    work = Work(options.steps, options.batch_size, options.compile)
    with exit_on_user_error(options.out):
        problem = open_problem(options.task, options.data)
        made_by = {"task": options.task, **work._asdict(), **asdict(settings)}
        scores = read_scores(options.out, made_by)
        for seed in range(options.seeds):
            for name in options.learners:
                if str(seed) in scores.setdefault(name, {}):
                    continue
                act = train(name, problem.transitions, settings, work, seed)
                scores[name][str(seed)] = problem.score(act, seed=40_000)
                print(f"{name}, seed {seed}: {scores[name][str(seed)]:.1f}", flush=True)
                report = {**made_by, "scores": scores}
                with atomic_write(options.out) as draft:
                    text = json.dumps(report | {"summary": summarize(scores)}, indent=2)
                    draft.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
