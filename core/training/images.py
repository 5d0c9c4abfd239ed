"""Training the image model: its preset and its task."""

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from core.denoiser import Denoiser
from core.image_model import ImageModelConfig
from core.losses import clipped_snr_weight, simple_loss
from core.training.config import TrainingConfig
from core.training.data import Dropout, ImageData
from core.training.trainer import stratified_timesteps


class ImagePreset(BaseModel):
    """An image model and how to train it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ImageModelConfig = ImageModelConfig()
    dropout: Dropout = Dropout()
    clip_frames: bool = Field(default=False, description="learn the frames of clips too, as images")
    snr_gamma: float = Field(default=200.0, gt=0, description="see core.losses.clipped_snr_weight")
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _says_whether_text_was_dropped(self) -> "ImagePreset":
        if self.model.unconditional != (self.dropout.text > 0):
            raise ValueError(
                f"dropout.text is {self.dropout.text:g}, so model.unconditional must be "
                f"{str(self.dropout.text > 0).lower()}"
            )
        return self


class ImageTask:
    """Denoising of single images at uniform timesteps."""

    def __init__(self, data: ImageData, snr_gamma: float = 200.0) -> None:
        self.data, self.snr_gamma = data, snr_gamma

    def __len__(self) -> int:
        return len(self.data)

    def loss(self, denoiser: Denoiser, index: Tensor) -> Tensor:
        """index: (B,) on the CPU -> weighted simple loss of each image, (B,)."""
        images, condition = self.data.batch(index)
        t = stratified_timesteps(len(images), denoiser.schedule.timesteps, images.device)
        loss = simple_loss(denoiser, images, t, condition, torch.randn_like(images))
        return clipped_snr_weight(denoiser, t, self.snr_gamma) * loss
