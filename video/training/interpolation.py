"""Training of temporal super-resolution: preset and task."""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from core.condition import no_condition
from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.io.text import count_of
from core.losses import clipped_snr_weight, simple_loss
from core.models.super_resolution import augment
from core.training.config import TrainingConfig
from core.training.data import Shards
from core.training.trainer import stratified_timesteps
from video.cascade.interpolation import InterpolationConfig, between


class InterpolationPreset(BaseModel):
    """Architecture and training of a temporal super-resolution model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: InterpolationConfig = InterpolationConfig()
    gaps: tuple[int, ...] = Field(
        default=(1, 2), min_length=1, description="frames from a training frame to each neighbor"
    )
    greatest_level: float = Field(default=0.4, ge=0, le=0.5, description="of the neighbors' noise")
    one_step_share: float = Field(
        default=0.5, ge=0, le=1, description="share of samples at the last timestep, for one-step sampling"
    )
    snr_gamma: float = Field(default=20.0, gt=0, description="see core.losses.clipped_snr_weight")
    training: TrainingConfig = TrainingConfig(batch_size=64, learning_rate=6e-4, decay=0.5)


class InterpolationTask:
    """Denoising of single frames of clips, conditioned on a frame before and one after them.

    The last frame of a loop is followed by the first. A clip without a phase is no loop: its first and last
    frames are neighbors only.

    In half of the samples the neighbors have augmentation noise, so that the model tolerates the errors of
    sampled frames.
    """

    def __init__(self, clips: Shards, preset: InterpolationPreset) -> None:
        """clips: latents (N,F,C,h,w).

        Raises UserError when they have other channels than the model, or less than three frames.
        """
        channels = clips.tables[0].shape[2]
        if channels != preset.model.channels:
            raise UserError(f"The latents have {channels} channels, the model takes {preset.model.channels}.")
        if clips.frames < 3:
            raise UserError(
                f"Clips of {count_of(clips.frames, 'frame')} have none between two others: 3 are needed."
            )
        self.clips, self.preset = clips, preset

    def __len__(self) -> int:
        return len(self.clips) * self.clips.frames

    def loss(self, denoiser: Denoiser, index: Tensor) -> Tensor:
        """Weighted loss of each frame, (B,). index: (B,) on the CPU, over all frames of all clips."""
        clip, frames = self._neighbors(index)
        before, x0, after = self.clips.pixels(clip, frames).unbind(2)
        level = self.preset.greatest_level * torch.rand(len(index)) * (torch.rand(len(index)) < 0.5)
        level = level.to(x0.device)
        before, after = (augment(each, level, torch.randn_like(each)) for each in (before, after))
        bound = between(denoiser, before, after, level)
        timesteps = denoiser.schedule.timesteps
        t = stratified_timesteps(len(index), timesteps, x0.device)
        last = torch.arange(len(index), device=x0.device) < round(self.preset.one_step_share * len(index))
        t = torch.where(last, timesteps - 1, t)
        condition = no_condition(len(index), x0.device)
        loss = simple_loss(bound, x0, t, condition, torch.randn_like(x0))
        return clipped_snr_weight(denoiser, t, self.preset.snr_gamma) * loss

    def _neighbors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The clips (B,), and the frames (B,3): one before, the one of the index, and one after."""
        count = self.clips.frames
        clip, frame = index // count, index % count
        gaps = torch.tensor(self.preset.gaps)
        gap = gaps[torch.randint(len(gaps), (len(index),))]
        ends = self.clips.rows(clip)["phase"].isnan().cpu()
        gap = torch.where(ends, gap.clamp(max=(count - 1) // 2), gap)
        frame = torch.where(ends, gap + frame % (count - 2 * gap).clamp(min=1), frame)
        return clip, (frame[:, None] + gap[:, None] * torch.tensor([-1, 0, 1])) % count
