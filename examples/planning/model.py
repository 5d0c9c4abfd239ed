"""A trajectory model: a denoiser of trajectories in a maze, with its scale, its file and its training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.io.weights import load_folder, load_weights, save_folder
from core.losses import simple_loss
from core.training.trainer import stratified_timesteps
from examples.planning.maze import TOP_SPEED, Array, Maze
from examples.planning.network import TemporalUNet, known_entries

TIMESTEPS = 100
SHORTEST = 0.5  # of a trajectory's length: training is on windows of this share and more


class TrajectoryModel:
    """Denoiser of normalized states (B,4,L): positions and velocities in [-1, 1]."""

    def __init__(self, maze: Maze, length: int, widths: tuple[int, ...] = (32, 64), blocks: int = 1) -> None:
        """length: of the trajectories that it is trained on."""
        self.maze, self.length = maze, length
        self.settings: dict[str, Any] = {"widths": list(widths), "blocks": blocks}
        network = TemporalUNet(4, widths, blocks)
        schedule = NoiseSchedule.cosine(TIMESTEPS)
        self.denoiser = Denoiser(network, schedule, Parameterization.X0, clip=1.0)
        half = maze.extent / 2
        self.center = torch.tensor([half, half, 0.0, 0.0])
        self.scale = torch.tensor([half, half, TOP_SPEED, TOP_SPEED])

    @property
    def stride(self) -> int:
        """The length of a plan must be a multiple of this."""
        return 2 ** (len(self.settings["widths"]) - 1)

    def normalize(self, states: Array) -> Tensor:
        """States (B,L,4) in cells to (B,4,L)."""
        return ((torch.from_numpy(np.asarray(states)).float() - self.center) / self.scale).transpose(1, 2)

    def to_states(self, x: Tensor) -> Array:
        """The inverse of `normalize`."""
        return (x.transpose(1, 2) * self.scale + self.center).double().numpy()

    def save(self, folder: Path, tensors: dict[str, Tensor] | None = None) -> None:
        """Writes a model folder; tensors: weights in place of the network's, such as averaged ones."""
        config = {"maze": self.maze.name, "length": self.length, **self.settings}
        save_folder(folder, config, tensors or self.denoiser.network.state_dict())

    @classmethod
    def load(cls, folder: Path) -> TrajectoryModel:
        """The model of a folder. Raises UserError when there is none, or when it is damaged."""
        stored = load_folder(folder)
        settings = dict(stored.config)
        model = cls(Maze(settings.pop("maze")), **settings)
        load_weights(model.denoiser.network, stored.tensors, folder)
        model.denoiser.eval()
        return model


@dataclass(frozen=True)
class TrajectoryTask:
    """The training task: windows of trajectories, with start and goal known or not.

    x0: (N,4,L), normalized. Windows have random lengths and places. Their first state is known in nine cases
    of ten and their last one in seven, independently; the loss is that of the unknown entries.
    """

    x0: Tensor
    stride: int

    def __len__(self) -> int:
        return len(self.x0)

    def loss(self, model: Denoiser, batch: Tensor) -> Tensor:
        """Loss of each trajectory, (B,). batch: indices (B,)."""
        longest = self.x0.shape[2] // self.stride
        length = self.stride * int(torch.randint(max(1, int(SHORTEST * longest)), longest + 1, ()))
        first = int(torch.randint(self.x0.shape[2] - length + 1, ()))
        x0 = self.x0[batch, :, first : first + length]
        mask = torch.zeros_like(x0, dtype=torch.bool)
        mask[..., 0] = (torch.rand(len(x0)) < 0.9)[:, None]
        mask[..., -1] = (torch.rand(len(x0)) < 0.7)[:, None]
        t = stratified_timesteps(len(x0), model.schedule.timesteps, x0.device)
        weights = (~mask).float()
        return simple_loss(model, x0, t, known_entries(x0, mask), torch.randn_like(x0), weights)
