"""Preset and task of an adapter's training: denoising of latents by a frozen network with trained parts."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.losses import min_snr_weight, simple_loss
from core.training.adapters.encoded import EncodedData, TextStates
from core.training.batch import Batch
from core.training.config import TrainingConfig
from core.training.trainer import stratified_timesteps

FINE = 2**20  # strata of the uniform number that becomes a logit-normal one


class AdapterPreset(BaseModel):
    """What is trained of which checkpoint, on what data and how.

    The command sets checkpoint and pipeline; a preset need not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str = Field(default="", description="folder, or id of the hub")
    pipeline: str = Field(default="", description="its class in diffusers")
    rank: int | None = Field(default=None, ge=1, le=1024, description="of a LoRA; motion layers have none")
    modules: tuple[str, ...] = Field(
        default=("to_q", "to_k", "to_v", "to_out.0"),
        min_length=1,
        description="ends of the names of the linear layers that a LoRA changes",
    )
    motion: str | None = Field(default=None, description="motion adapter to start from; None: new layers")
    width: int | None = Field(default=None, ge=8, le=2048, description="px; None: the checkpoint's own")
    height: int | None = Field(default=None, ge=8, le=2048, description="px; None: the checkpoint's own")
    frames: int = Field(default=16, ge=1, le=1024, description="of a training clip")
    fps: float = Field(default=8, gt=0, le=120, description="frames per second of training clips")
    timesteps: Literal["uniform", "logit_normal"] = Field(
        default="uniform", description="distribution of t / T; see `AdapterTask`"
    )
    snr_gamma: float | None = Field(
        default=None, gt=0, description="gamma of core.losses.min_snr_weight; None: all timesteps weigh alike"
    )
    caption_dropout: float = Field(default=0.1, ge=0, le=1, description="share of empty captions")
    gradient_checkpointing: bool = Field(
        default=True, description="recompute activations in the backward pass: less memory, more time"
    )
    training: TrainingConfig = TrainingConfig(batch_size=4, learning_rate=1e-4, compile=False)


@dataclass(frozen=True, eq=False)
class LatentBatch(Batch):
    """Latents (B,...) with their conditions, timesteps (B,) and noise (B,...)."""

    latents: Tensor
    condition: Condition
    t: Tensor
    noise: Tensor


class AdapterTask:
    """Mean squared error of the network's output, as in the pretraining: noise, v or velocity.

    t / T is uniform, or logit-normal with mean 0 and deviation 1 (Esser et al. 2024, "Stable Diffusion 3",
    section 3.1), in the strata of `stratified_timesteps`.
    """

    def __init__(
        self,
        data: EncodedData,
        texts: TextStates,
        preset: AdapterPreset,
        timesteps: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """timesteps: T of the denoiser's schedule. device: of the batches; the data stay on the CPU."""
        self.data, self.texts, self.preset = data, texts, preset
        self.timesteps, self.device = timesteps, device

    def __len__(self) -> int:
        return len(self.data)

    def draw(self, index: Tensor) -> LatentBatch:
        """The examples at index (B,), on the CPU, with everything random."""
        latents, line = self.data(index)
        dropped = torch.rand(len(line)) < self.preset.caption_dropout
        condition = self.texts(torch.where(dropped, -1, line)).to(self.device)
        latents = latents.to(self.device)
        return LatentBatch(latents, condition, self._timesteps(len(line)), torch.randn_like(latents))

    def loss(self, denoiser: Denoiser, batch: Tensor | LatentBatch) -> Tensor:
        """Weighted loss of each example, (B,). batch: from `draw`, or the index to draw."""
        if isinstance(batch, Tensor):
            batch = self.draw(batch)
        loss = simple_loss(denoiser, batch.latents, batch.t, batch.condition, batch.noise)
        gamma = self.preset.snr_gamma
        return loss if gamma is None else loss * min_snr_weight(denoiser, batch.t, gamma)

    def _timesteps(self, count: int) -> Tensor:
        """Timesteps (count,) on the device."""
        device = torch.device(self.device)
        if self.preset.timesteps == "uniform":
            return stratified_timesteps(count, self.timesteps, device)
        uniform = (stratified_timesteps(count, FINE, torch.device("cpu")).double() + 0.5) / FINE
        return (torch.special.ndtri(uniform).sigmoid() * self.timesteps).long().to(device)
