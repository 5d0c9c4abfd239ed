"""Behavior policies and data sets of gymnasium's tasks, in the three kinds of D4RL (Fu et al. 2020).

A soft actor-critic of stable-baselines3 (Haarnoja et al. 2018) is trained on the task. "medium" are
transitions of the first policy that reaches a third of the best one's return, "medium-replay" is the replay
buffer up to that moment, and "medium-expert" are transitions of that policy and of the best one in equal
parts. Returns of a random policy and of the best one are kept for normalized scores. A training that was
interrupted resumes from its last evaluation.

python -m examples.offline_rl.behavior --task hopper --steps 60000 --out data/offline_rl/hopper
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium  # pyright: ignore[reportMissingImports]
import numpy as np
import torch
from stable_baselines3 import SAC  # pyright: ignore[reportMissingImports]
from stable_baselines3.common.callbacks import BaseCallback  # pyright: ignore[reportMissingImports]

from core.errors import UserError
from core.io.atomic import atomic_write, writable_folder
from examples.command_line import at_least, exit_on_user_error
from examples.offline_rl.transitions import Array, Transitions

TASKS = {
    "hopper": "Hopper-v5",
    "halfcheetah": "HalfCheetah-v5",
    "walker2d": "Walker2d-v5",
    "pendulum": "Pendulum-v1",
    "double-pendulum": "InvertedDoublePendulum-v5",
}
EPISODES = 10  # of an evaluation
MEDIUM = 1 / 3  # of the way from the random return to the best one

Policy = Callable[[Array], Array]
"""A state (S,) to an action (A,) in [-1, 1]."""


class Snapshot(NamedTuple):
    """A policy during training, with its mean return."""

    step: int
    weights: dict[str, torch.Tensor]
    mean_return: float


def make_task(task: str) -> Any:
    """The environment of a task, with actions rescaled to [-1, 1]."""
    return gymnasium.wrappers.RescaleAction(gymnasium.make(TASKS[task]), np.float32(-1), np.float32(1))


def run_episode(env: Any, policy: Policy, seed: int) -> Transitions:
    """The transitions of one episode."""
    rows: list[tuple[Any, ...]] = []
    state, _ = env.reset(seed=seed)
    done = False
    while not done:
        action = policy(state.astype(np.float32))
        following, reward, terminated, truncated, _ = env.step(action)
        rows.append((state, action, reward, following, terminated))
        state, done = following, terminated or truncated
    return Transitions(*(np.asarray(column, np.float32) for column in zip(*rows, strict=True)))


def mean_return(env: Any, policy: Policy, seed: int, episodes: int = EPISODES) -> float:
    """Mean undiscounted return of some episodes."""
    returns = [run_episode(env, policy, seed + i).rewards.sum() for i in range(episodes)]
    return float(np.mean(returns))


class Snapshots(BaseCallback):  # pyright: ignore[reportUntypedBaseClass]
    """Evaluates the policy every `every` steps, keeps its weights, and stores all that a run resumes from."""

    def __init__(self, env: Any, every: int, folder: Path, kept: list[Snapshot]) -> None:
        super().__init__()
        self.env, self.every, self.folder, self.kept = env, every, folder, kept

    def _on_step(self) -> bool:
        if self.num_timesteps % self.every == 0:
            score = mean_return(self.env, policy_of(self.model), seed=10_000)
            model: Any = self.model
            weights = {name: value.clone() for name, value in model.actor.state_dict().items()}
            self.kept.append(Snapshot(self.num_timesteps, weights, score))
            self._store()
            print(f"step {self.num_timesteps}: return {score:.0f}", flush=True)
        return True

    def _store(self) -> None:
        """Writes a folder of this step; older ones go when it is whole."""
        draft, whole = self.folder / "draft", self.folder / f"{self.num_timesteps:09d}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        model: Any = self.model
        model.save(draft / "model.zip")
        model.save_replay_buffer(draft / "buffer.pkl")
        torch.save([tuple(snapshot) for snapshot in self.kept], draft / "snapshots.pt")
        draft.rename(whole)
        for older in self.folder.iterdir():
            if older != whole:
                shutil.rmtree(older)


def start_or_resume(task: str, steps: int, seed: int, folder: Path) -> tuple[Any, list[Snapshot]]:
    """The actor-critic and its snapshots: new, or of the last step that `Snapshots` stored in the folder.

    A resumed run begins a new episode, so it is another one than that without the stop. The replay buffer is
    a pickle, as stable-baselines3 writes it: resume only folders of your own.
    """
    stored = sorted(folder.glob("[0-9]*"))
    if not stored:
        model = SAC(
            "MlpPolicy", make_task(task), buffer_size=steps, batch_size=128, learning_starts=1000,
            seed=seed, device="cpu",
        )  # fmt: skip
        return model, []
    model = SAC.load(stored[-1] / "model.zip", make_task(task), device="cpu")
    model.load_replay_buffer(stored[-1] / "buffer.pkl")
    model.set_random_seed(seed + model.num_timesteps)
    return model, [Snapshot(*row) for row in torch.load(stored[-1] / "snapshots.pt", weights_only=True)]


def policy_of(model: Any, deterministic: bool = True) -> Policy:
    """The present policy of a model; samples of it where it is not deterministic."""
    return lambda state: model.predict(state, deterministic=deterministic)[0]


def collect(env: Any, policy: Policy, count: int, seed: int) -> Transitions:
    """The first `count` transitions of episodes one after the other."""
    parts: list[Transitions] = []
    while sum(map(len, parts)) < count:
        parts.append(run_episode(env, policy, seed + len(parts)))
    return Transitions.cat(parts)[:count]


def replay(model: Any, count: int) -> Transitions:
    """The first `count` transitions of the replay buffer."""
    buffer = model.replay_buffer
    columns = buffer.observations, buffer.actions, buffer.rewards, buffer.next_observations
    rows = [np.asarray(column[:count, 0], np.float32) for column in columns]
    terminals = (buffer.dones * (1 - buffer.timeouts))[:count, 0]
    states, actions, rewards, following = rows
    return Transitions(states, actions, rewards, following, np.asarray(terminals, np.float32))


def make_data(task: str, steps: int, every: int, count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Trains the behavior policies and writes the three sets; returns what `reference.json` holds.

    What a run resumes from is in the folder's `training`, which is deleted at the end.
    Raises UserError where no policy would be evaluated or none is better than a random one, and where the
    folder is not writable.
    """
    if every > steps:
        raise UserError(f"Policies of {steps} steps are never evaluated every {every}: choose fewer.")
    writable_folder(folder)
    env = make_task(task)
    model, kept = start_or_resume(task, steps, seed, folder / "training")
    snapshots = Snapshots(env, every, folder / "training", kept)
    if steps > model.num_timesteps:
        model.learn(steps - model.num_timesteps, callback=snapshots, reset_num_timesteps=False)

    env.action_space.seed(seed)
    lowest = mean_return(env, lambda state: env.action_space.sample(), seed=20_000)
    best = max(snapshots.kept, key=lambda snapshot: snapshot.mean_return)
    if best.mean_return <= lowest:
        raise UserError(f"No policy is better than a random one after {steps} steps: take more steps.")
    enough = lowest + MEDIUM * (best.mean_return - lowest)
    medium = next(snapshot for snapshot in snapshots.kept if snapshot.mean_return >= enough)
    sets = {"medium-replay": replay(model, medium.step)}
    collected: list[Transitions] = []
    for snapshot in (medium, best):
        model.actor.load_state_dict(snapshot.weights)
        collected.append(collect(env, policy_of(model, deterministic=False), count, seed=30_000))
    sets |= {"medium": collected[0], "medium-expert": Transitions.cat(collected)}
    for name, transitions in sets.items():
        transitions.save(folder / f"{name}.npz")
    reference = {
        "task": task, "environment": TASKS[task], "seed": seed, "steps": steps,
        "random": lowest, "expert": best.mean_return, "medium": medium.mean_return,
        "medium_step": medium.step, "expert_step": best.step,
        "transitions": {name: len(transitions) for name, transitions in sets.items()},
    }  # fmt: skip
    with atomic_write(folder / "reference.json") as draft:
        draft.write_text(json.dumps(reference, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder / "training", ignore_errors=True)
    return reference


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--steps", type=at_least(1), default=60_000, help="steps of soft actor-critic")
    parser.add_argument("--every", type=at_least(1), default=2_500, help="steps between evaluations")
    parser.add_argument(
        "--count", type=at_least(1), default=20_000, help="transitions collected from a policy"
    )
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder of the data sets")
    options = parser.parse_args()
    arguments = options.task, options.steps, options.every, options.count, options.seed, options.out
    with exit_on_user_error():
        print(json.dumps(make_data(*arguments), indent=2))


if __name__ == "__main__":
    main()
