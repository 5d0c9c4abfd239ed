"""Guidance wraps a denoiser and is one: samplers and score distillation never see how it works."""

from dataclasses import replace

import torch
from torch import Tensor

from core.condition import Condition
from core.denoiser import Denoiser, Prediction
from core.schedule import NoiseSchedule


class ClassifierFreeGuidance:
    """eps = uncond + scale (cond - uncond), Ho & Salimans 2022, equation 6.

    The scale s is diffusers': 1 means no guidance, 0 the negative alone; DreamFusion's omega is s - 1.

    negative: what to lead away from, usually the empty prompt; of length 1, or of the batch's length.
    Only its text is used: its attributes are replaced by those of the condition, so that guidance acts on the
    text alone and leaves camera, phase and shadow as they were asked for.

    The denoiser's clip applies once, after extrapolation.
    """

    def __init__(self, denoiser: Denoiser, scale: float, negative: Condition) -> None:
        self.denoiser = denoiser
        self.scale = scale
        self.negative = negative

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """As `Denoiser.forward`. One network call of batch 2B; of batch B where scale is 1.

        Raises ValueError when the negative has neither length 1 nor B.
        """
        if self.scale == 1:
            return self.denoiser(x, t, condition)
        batch = len(condition)
        if len(self.negative) not in (1, batch):
            raise ValueError(f"a negative of length {len(self.negative)} for a batch of {batch}")
        negative = self.negative.to(condition.tokens.device, condition.tokens.dtype)
        if len(negative) != batch:
            negative = negative.repeat_interleave(batch)
        negative = replace(negative, attributes=condition.attributes)

        joined = Condition.cat([negative, condition])
        both = self.denoiser.predict(torch.cat([x, x]), torch.cat([t, t]), joined)
        # x0 is linear in eps at fixed x_t, so extrapolating both keeps them consistent, at alpha = 0 too.
        guided = Prediction(self._extrapolate(both.x0), self._extrapolate(both.eps))
        return self.denoiser.clipped(guided, x, t)

    def _extrapolate(self, both: Tensor) -> Tensor:
        uncond, cond = both.chunk(2)
        return uncond + self.scale * (cond - uncond)
