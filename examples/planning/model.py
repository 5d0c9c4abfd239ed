"""A trajectory model: a denoiser of trajectories in an environment, its scale, file and training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.io.weights import load_folder, load_weights, save_folder
from core.losses import clipped_snr_weight, simple_loss
from core.training.trainer import stratified_timesteps
from examples.planning.environment import Array, Environment
from examples.planning.network import TemporalUNet, known_entries

TIMESTEPS = 100
SNR_GAMMA = 50.0  # of `clipped_snr_weight`: corners are decided at small noise
SHORTEST = 0.5  # of a trajectory's length: training is on windows of this share and more

E = TypeVar("E", bound=Environment)


class TrajectoryModel(Generic[E]):
    """Denoiser of normalized states (B,S,L), in [-1, 1]."""

    def __init__(
        self,
        environment: E,
        length: int,
        widths: tuple[int, ...] = (32, 64),
        blocks: int = 1,
        ends: bool = False,
    ) -> None:
        """length: of the trajectories that it is trained on. Others: of `TemporalUNet`."""
        self.environment, self.length = environment, length
        self.settings: dict[str, Any] = {"widths": list(widths), "blocks": blocks, "ends": ends}
        self.center = torch.from_numpy(environment.center).float()
        self.scale = torch.from_numpy(environment.scale).float()
        network = TemporalUNet(len(self.scale), widths, blocks, ends)
        schedule = NoiseSchedule.cosine(TIMESTEPS)
        self.denoiser = Denoiser(network, schedule, Parameterization.X0, clip=1.0)

    @property
    def stride(self) -> int:
        """The length of a plan must be a multiple of this."""
        return 2 ** (len(self.settings["widths"]) - 1)

    def normalize(self, states: Array) -> Tensor:
        """States (B,L,S) of the environment to (B,S,L)."""
        return ((torch.from_numpy(np.asarray(states)).float() - self.center) / self.scale).transpose(1, 2)

    def to_states(self, x: Tensor) -> Array:
        """The inverse of `normalize`."""
        return (x.transpose(1, 2) * self.scale + self.center).double().numpy()

    def save(self, folder: Path, tensors: dict[str, Tensor] | None = None) -> None:
        """Writes a model folder; tensors: weights in place of the network's, such as averaged ones."""
        config = {**self.environment.config, "length": self.length, **self.settings}
        save_folder(folder, config, tensors or self.denoiser.network.state_dict())

    @classmethod
    def load(cls, folder: Path, make_environment: Callable[[dict[str, Any]], E]) -> TrajectoryModel[E]:
        """The model of a folder. Raises UserError when there is none, or when it is damaged.

        make_environment: takes its entries from the stored settings, and makes the environment.
        """
        stored = load_folder(folder)
        settings = dict(stored.config)
        model = cls(make_environment(settings), **settings)
        load_weights(model.denoiser.network, stored.tensors, folder)
        model.denoiser.eval()
        return model


@dataclass(frozen=True)
class TrajectoryTask:
    """The training task: windows of trajectories, with start and goal known or not.

    x0: (N,S,L), normalized. Windows have random lengths and places. Their first state is known in nine cases
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
        mask = self.known(x0, batch)
        t = stratified_timesteps(len(x0), model.schedule.timesteps, x0.device)
        weights = (~mask).float()
        weights = weights * clipped_snr_weight(model, t, SNR_GAMMA)[:, None, None]
        return simple_loss(model, x0, t, known_entries(x0, mask), torch.randn_like(x0), weights)

    def known(self, x0: Tensor, batch: Tensor) -> Tensor:
        """Which entries are known, (B,S,L) bool, in the windows x0 (B,S,L) of some trajectories (B,)."""
        mask = torch.zeros_like(x0, dtype=torch.bool)
        mask[..., 0] = (torch.rand(len(x0)) < 0.9)[:, None]
        mask[..., -1] = (torch.rand(len(x0)) < 0.7)[:, None]
        return mask
