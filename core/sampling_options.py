"""How samples are drawn: sampler, steps and guidance. Imports no torch, so that commands check it early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from core.errors import UserError

SamplerName = Literal["ddim", "ddpm", "dpm-solver++", "unipc", "heun", "euler", "lcm", "tcd"]


@dataclass(frozen=True)
class SamplingOptions:
    """How samples are drawn.

    steps: denoising steps; guidance_scale: s of uncond + s (cond - uncond), 1 disables guidance.
    sampler: name of the sampler, see `core.samplers`. None is the model's own: DDIM unless its checkpoint
        has another.
    eta: noise of DDIM and of TCD, 0 deterministic to 1 ancestral; of no other sampler.
    guidance_interval: noise levels sigma / alpha, (low, high], within which guidance is applied
        (Kynkäänniemi et al. 2024); None for all.
    guidance_rescale: in [0, 1], see `ClassifierFreeGuidance` (Lin et al. 2023, section 3.4).

    Raises UserError for values out of range and for options that have no effect together.
    """

    steps: int
    guidance_scale: float
    sampler: SamplerName | None = None
    eta: float = 0.0
    guidance_interval: tuple[float, float] | None = None
    guidance_rescale: float = 0.0

    def __post_init__(self) -> None:
        if self.sampler not in (None, *get_args(SamplerName)):
            known = ", ".join(get_args(SamplerName))
            raise UserError(f"There is no sampler {self.sampler!r}: give one of {known}.")
        if not 0 <= self.guidance_scale <= 100:
            raise UserError(f"The guidance scale must be from 0 to 100, not {self.guidance_scale}.")
        if self.eta and self.sampler not in (None, "ddim", "tcd"):
            raise UserError(f"eta is an option of ddim and tcd: leave it out with {self.sampler}.")
        if self.sampler == "tcd" and self.eta > 1:
            raise UserError(f"The eta of tcd must be from 0 to 1, not {self.eta}.")
        if self.guidance_scale == 1 and (self.guidance_interval or self.guidance_rescale):
            raise UserError("A guidance interval or rescale needs guidance: give a guidance scale above 1.")
        low, high = self.guidance_interval or (0, 1)
        if not 0 <= low < high:
            raise UserError(f"A guidance interval needs 0 <= low < high, not {low:g} and {high:g}.")
        if not 0 <= self.guidance_rescale <= 1:
            raise UserError(f"The guidance rescale must be from 0 to 1, not {self.guidance_rescale}.")
