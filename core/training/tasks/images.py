"""Training of the image model: preset and task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.losses import clipped_snr_weight, hybrid_loss, min_snr_weight, simple_loss, vlb_loss
from core.models.image_model import ImageModelConfig
from core.training.batch import Batch
from core.training.config import MonitoringConfig, TrainingConfig
from core.training.data import NO_DROPOUT, Captions, ConditionDropout, ImageData, Shards
from core.training.timesteps import ImportanceTimesteps, TimestepSampler, UniformTimesteps

Objective = Literal["simple", "hybrid", "vlb"]


class ImagePreset(BaseModel):
    """Architecture and training of an image model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ImageModelConfig = ImageModelConfig()
    rank: int | None = Field(
        default=None, ge=1, description="of the change of every layer, which is all that is trained"
    )
    dropout: ConditionDropout = ConditionDropout()
    clip_frames: bool = Field(default=False, description="train on the frames of clips too")
    objects: bool = Field(default=False, description="train on the images of objects too")
    objective: Objective = Field(default="simple", description="see core.losses")
    snr_weight: Literal["clipped", "min"] = Field(
        default="clipped",
        description="weight of the simple loss: core.losses.clipped_snr_weight or min_snr_weight",
    )
    snr_gamma: float = Field(default=200.0, gt=0, description="gamma of snr_weight")
    vlb_weight: float = Field(default=1e-3, gt=0, description="lambda of the hybrid loss")
    timestep_sampler: Literal["uniform", "importance"] = Field(
        default="uniform", description="see core.training.timesteps"
    )
    timestep_shift: float = Field(
        default=1.0, gt=0, description="of uniform timesteps towards noise, see core.training.timesteps"
    )
    training: TrainingConfig = TrainingConfig()
    monitoring: MonitoringConfig = MonitoringConfig()

    @model_validator(mode="after")
    def _check_unconditional(self) -> "ImagePreset":
        if self.model.unconditional != (self.dropout.text > 0):
            raise ValueError(
                f"dropout.text is {self.dropout.text:g}, so model.unconditional must be "
                f"{str(self.dropout.text > 0).lower()}"
            )
        return self

    @model_validator(mode="after")
    def _check_timesteps(self) -> "ImagePreset":
        if self.timestep_sampler == "importance" and self.timestep_shift != 1:
            raise ValueError("importance sampling chooses the timesteps itself: leave timestep_shift at 1")
        return self

    @model_validator(mode="after")
    def _check_variance(self) -> "ImagePreset":
        if self.objective == "hybrid" and not self.model.learned_variance:
            raise ValueError("the hybrid objective needs model.learned_variance: use simple without it")
        if self.objective == "simple" and self.model.learned_variance:
            raise ValueError(
                "model.learned_variance needs the objective hybrid or vlb: simple does not train it"
            )
        return self


@dataclass(frozen=True, eq=False)
class ImageBatch(Batch):
    """Images (B,...) with their conditions, timesteps (B,), weights of these (B,), and noise (B,...)."""

    images: Tensor
    condition: Condition
    t: Tensor
    weight: Tensor
    noise: Tensor


class ImageTask:
    """Denoising of single images. The preset sets the noise schedule and the loss."""

    def __init__(self, data: ImageData, preset: ImagePreset | None = None) -> None:
        self.data, self.preset = data, preset or ImagePreset()
        timesteps = self.preset.model.noise_schedule["timesteps"]
        self.timesteps: TimestepSampler = (
            ImportanceTimesteps(timesteps)
            if self.preset.timestep_sampler == "importance"
            else UniformTimesteps(timesteps, self.preset.timestep_shift)
        )

    def __len__(self) -> int:
        return len(self.data)

    @classmethod
    def validating(
        cls,
        sources: Sequence[Shards],
        captions: Captions,
        preset: ImagePreset,
        embeddings: Sequence[Shards] | None = None,
    ) -> "ImageTask":
        """The task of held-back images: complete conditions, and uniform timesteps."""
        uniform = preset.model_copy(update={"timestep_sampler": "uniform"})
        return cls(ImageData(sources, captions, NO_DROPOUT, embeddings), uniform)

    def draw(self, index: Tensor) -> ImageBatch:
        """The images at index (B,), on the CPU, with everything random."""
        images, condition = self.data.batch(index)
        t, weight = self.timesteps.draw(len(images), images.device)
        return ImageBatch(images, condition, t, weight, torch.randn_like(images))

    def loss(self, denoiser: Denoiser, batch: Tensor | ImageBatch) -> Tensor:
        """Weighted loss of each image, (B,). batch: from `draw`, or the index to draw."""
        if isinstance(batch, Tensor):
            batch = self.draw(batch)
        loss = self._objective(denoiser, batch)
        self.timesteps.update(batch.t, loss.detach())
        return batch.weight * loss

    def _objective(self, denoiser: Denoiser, batch: ImageBatch) -> Tensor:
        preset, t = self.preset, batch.t
        arguments = denoiser, batch.images, t, batch.condition, batch.noise
        levels = None if preset.model.first_stage else 256  # latents are continuous
        if preset.objective == "vlb":
            return vlb_loss(*arguments, levels=levels)
        snr_weight = min_snr_weight if preset.snr_weight == "min" else clipped_snr_weight
        weight = snr_weight(denoiser, t, preset.snr_gamma)
        if preset.objective == "simple":
            return weight * simple_loss(*arguments)
        return hybrid_loss(*arguments, simple_weight=weight, vlb_weight=preset.vlb_weight, levels=levels)

    def state_dict(self) -> dict[str, Tensor]:
        """State of the timestep sampler."""
        return self.timesteps.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores the state of the timestep sampler."""
        self.timesteps.load_state_dict(state)
