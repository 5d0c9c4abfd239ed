"""Training of the motion layers of an inflated checkpoint, with frozen image layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.diffusion.denoiser import Denoiser
from core.training.config import Budget, TrainingConfig
from core.training.trainer import Trainer, stratified_timesteps
from video.animatediff.motion_format import MotionFile, write_motion
from video.animatediff.motion_model import MotionModel, motion_sampling
from video.training.clips import clip_loss


class MotionTask:
    """Denoising task on clips with prompts: one noise level for all frames of a clip.

    Guo et al. 2023, section 4.2, equation 3.
    """

    def __init__(self, model: MotionModel, clips: Tensor, prompts: Sequence[str]) -> None:
        """clips: (N,3,F,H,W) in [-1, 1], encoded once here. prompts: N; some empty ones train guidance.

        Raises ValueError when the numbers of clips and prompts differ.
        """
        if clips.ndim != 5 or len(clips) != len(prompts):
            raise ValueError(
                f"clips must be (N,3,F,H,W) with N prompts, not {tuple(clips.shape)} "
                f"and {len(prompts)} prompts"
            )
        self.latents = model.encode(clips)
        self.condition = model.image.encode(prompts)

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.latents)

    def loss(self, denoiser: Denoiser, index: Tensor) -> Tensor:
        """Loss (B,) of each clip of the rows `index` (B,), which is on the CPU."""
        x0 = self.latents[index]
        t = stratified_timesteps(len(x0), denoiser.schedule.timesteps, x0.device)
        condition = self.condition[index.to(x0.device)]
        return clip_loss(denoiser, x0, t, condition, torch.randn_like(x0))


def train_motion(
    model: MotionModel,
    clips: Tensor,
    prompts: Sequence[str],
    folder: Path,
    budget: Budget,
    config: TrainingConfig,
) -> Path:
    """Trains the motion layers in place with AnimateDiff's noise schedule; writes their moving average.

    clips, prompts: as in `MotionTask`, with at most as many frames as the layers have positions.
    folder: run folder, see `Trainer`; the run resumes from a checkpoint in it.

    Returns `folder / "motion"`, a motion adapter for diffusers and `load_motion_model`.
    """
    sampling = motion_sampling(model.image)
    denoiser = Denoiser(model.inflated, sampling.schedule, sampling.parameterization)
    model.motion.requires_grad_(True)
    trainer = Trainer(denoiser, MotionTask(model, clips, prompts), config, folder)
    trainer.run(budget)
    model.inflated.eval().requires_grad_(False)
    average: Any = trainer.ema.network
    write_motion(folder / "motion", MotionFile(model.motion.config, average.motion.state_dict()))
    return folder / "motion"
