"""Training of a video model that needs few steps: preset and task of progressive distillation."""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.losses.distillation import StepPair, distillation_loss, step_pairs
from core.sampling import guide
from core.sampling_options import SamplingOptions
from core.training.config import TrainingConfig
from core.training.data import ConditionDropout
from video.cascade.distilled import DistilledConfig
from video.sampling.clip_tensors import mixed_noise
from video.training.clips import ClipData


class DistillationPreset(BaseModel):
    """Preset of a distillation and its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: DistilledConfig = DistilledConfig()
    frames: int = Field(default=16, ge=1, description="frames of a training clip")
    dropout: ConditionDropout = ConditionDropout(text=0.0, camera=0.05, phase=0.0, shadow=0.2)
    training: TrainingConfig = TrainingConfig(batch_size=4, learning_rate=3e-4, decay=0.5, compile=False)


class DistillationTask:
    """A student's step against two steps of its teacher, on noised clips."""

    def __init__(
        self,
        clips: ClipData,
        preset: DistillationPreset,
        teacher: Denoiser,
        negative: Condition | None,
        noise_share: float,
        weak: Denoiser | None = None,
    ) -> None:
        """teacher: the full model, or a student with twice the steps. weak: what guides the full model.

        negative: condition of length 1 that guidance leads away from; None for a teacher that was distilled.
        """
        self.clips, self.preset, self.noise_share = clips, preset, noise_share
        options = SamplingOptions(2, preset.model.guidance)
        self.teacher = guide(teacher, negative, options, weak) if negative else teacher
        self.pairs = step_pairs(teacher.schedule.timesteps, preset.model.steps)

    def __len__(self) -> int:
        return len(self.clips)

    def loss(self, student: Denoiser, index: Tensor) -> Tensor:
        """Weighted error of the student's x0 for each clip, (B,). index: (B,) on the CPU."""
        clips, condition = self.clips.batch(index)
        row = torch.randint(self.preset.model.steps, (len(clips),))
        steps = StepPair(*(column[row].to(clips.device) for column in self.pairs))
        noise = mixed_noise(torch.randn_like(clips[:, :, :1]), torch.randn_like(clips), self.noise_share)
        return distillation_loss(student, self.teacher, clips, steps, condition, noise)
