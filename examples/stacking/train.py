"""Trains a trajectory model of blocks. A run that was interrupted resumes.

python -m examples.stacking.train --blocks 4 --run runs/stacking-4
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.command_line import at_least, exit_on_user_error
from examples.planning.environment import Array
from examples.planning.model import TrajectoryModel, TrajectoryTask
from examples.planning.train import fit
from examples.stacking.blocks import Blocks
from examples.stacking.controller import make_trajectories


@dataclass(frozen=True)
class StackingTask(TrajectoryTask):
    """Windows of trajectories, of which the first state is known, and the last in part, by kind of task.

    blocks: the environment; towers: (N,) bool, whether a trajectory builds a tower. Where it does, nothing is
    known of the last state in a third of the windows, the heights of the blocks in another, and their places
    in the last; elsewhere their places are known.
    """

    blocks: Blocks
    towers: Tensor

    def known(self, x0: Tensor, batch: Tensor) -> Tensor:
        """Which entries are known, (B,S,L) bool."""
        mask = torch.zeros_like(x0, dtype=torch.bool)
        mask[..., 0] = True
        kind = torch.where(self.towers[batch], torch.randint(3, (len(x0),)), 2)
        across, up = (slice(self.blocks.placed.start + axis, self.blocks.placed.stop, 2) for axis in (0, 1))
        mask[:, up, -1] = (kind >= 1)[:, None]
        mask[:, across, -1] = (kind == 2)[:, None]
        return mask


def length_of(blocks: Blocks) -> int:
    """Steps of the trajectories, in which nearly every task is done."""
    return 8 * blocks.count + 8


def make_data(blocks: Blocks, count: int, seed: int) -> tuple[Array, Array, NDArray[np.bool_]]:
    """States (N,L,S) and actions (N,L,3) of up to `count` tasks; whether each builds a tower, as half do."""
    kinds = [
        make_trajectories(blocks, count // 2, length_of(blocks), seed + number, towers)
        for number, towers in enumerate((True, False))
    ]
    towers = np.repeat([True, False], [len(states) for states, _ in kinds])
    return np.concatenate([kind[0] for kind in kinds]), np.concatenate([kind[1] for kind in kinds]), towers


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--blocks", type=at_least(1), default=4)
    parser.add_argument(
        "--run", type=Path, required=True, help="folder of the run; the model is in RUN/model"
    )
    parser.add_argument("--steps", type=at_least(1), default=6000)
    parser.add_argument("--trajectories", type=at_least(1), default=8000)
    parser.add_argument("--batch-size", type=at_least(1), default=64)
    parser.add_argument("--widths", type=at_least(1), nargs="+", default=[48, 96, 128])
    parser.add_argument("--seed", type=at_least(0), default=0)
    options = parser.parse_args()
    with exit_on_user_error():
        blocks = Blocks(options.blocks)
        model = TrajectoryModel(blocks, length_of(blocks), tuple(options.widths), ends=True)
        states, _, towers = make_data(blocks, options.trajectories, options.seed)
        print(f"{len(states)} trajectories of {model.length} steps, {towers.sum()} of which build towers")
        task = StackingTask(model.normalize(states), model.stride, blocks, torch.from_numpy(towers))
        fit(model, task, options.run, options.steps, options.batch_size, options.seed)


if __name__ == "__main__":
    main()
