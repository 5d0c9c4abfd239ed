"""What a checkpoint's scheduler_config.json says: noise schedule, parameterization, and how it samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.diffusion.timestep_spacing import Spacing
from core.errors import UserError
from core.guidance import GuidableDenoiser
from core.samplers.ddpm import Variance
from core.sampling import Constraint, StepCallback, sample_latents
from core.sampling_options import SamplingOptions


@dataclass(frozen=True, eq=False)
class CheckpointSampler:
    """The schedule that a checkpoint was trained on, and the path that its publisher samples along.

    spacing, offset: of the timesteps, see `core.diffusion.timestep_spacing`; offset is added where the
        spacing is "leading".
    end: the timestep where sampling ends, -1 for clean data (0: diffusers' set_alpha_to_one=False).
    variance: of ancestral sampling, which pixel models use; None: DDIM.
    thresholding: percentile and highest limit of `DynamicThresholding`, where it is used.
    """

    schedule: NoiseSchedule
    parameterization: Parameterization
    spacing: Spacing = "leading"
    offset: int = 0
    end: int = -1
    variance: Variance | None = None
    thresholding: tuple[float, float] | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any], ancestral: bool = False) -> CheckpointSampler:
        """What a scheduler's configuration stands for; what it leaves open is as in `DDIMScheduler`.

        Most schedulers of diffusers are ways to sample one process, and their configurations say which: their
        betas count here, not their class. ancestral: DDPM with the configuration's own variance, not DDIM.

        Raises UserError for a process or a parameterization that the engine does not have.
        """
        name = config.get("_class_name", "the scheduler")
        if "original_inference_steps" in config:  # LCM, TCD
            raise UserError(
                f"This checkpoint is distilled for {name}, and there is no sampler for that here: give the "
                "checkpoint that it was made from."
            )
        spacing = config.get("timestep_spacing", "leading")
        if spacing not in ("leading", "trailing", "linspace"):
            raise UserError(f"The timestep spacing {spacing!r} of {name} is unknown.")
        thresholding = config.get("dynamic_thresholding_ratio", 0.995), config.get("sample_max_value", 1.0)
        return cls(
            _schedule(config, name),
            _parameterization(config, name),
            spacing,
            int(config.get("steps_offset", 0)),
            -1 if config.get("set_alpha_to_one", True) else 0,
            _variance(config, name) if ancestral else None,
            thresholding if config.get("thresholding") else None,
        )

    def timesteps(self, steps: int) -> list[float]:
        """The timesteps of so many steps, descending. Raises UserError where they do not fit the schedule."""
        visited = self.schedule.sampling_timesteps(steps, self.spacing)
        if self.spacing == "leading" and self.offset:
            visited = [t + self.offset for t in visited]
            if visited[0] >= self.schedule.timesteps:
                raise UserError(f"{steps} steps are too many for this checkpoint's timesteps.")
        # A step that would end where it begins changes nothing.
        return [t for t in visited if t > self.end]

    def sample(
        self,
        denoiser: GuidableDenoiser,
        noise: Tensor,
        condition: Condition,
        negative: Condition,
        options: SamplingOptions,
        generators: Sequence[torch.Generator],
        *,
        on_step: StepCallback | None = None,
        constrain: Constraint | None = None,
    ) -> Tensor:
        """The result of sampling from noise (B,C,...) along the checkpoint's timesteps, not clamped.

        options: without a sampler it is the checkpoint's own. The rest is as in `sample_latents`.
        """
        if self.variance and options.sampler is None:
            options = replace(options, sampler="ddpm")
        return sample_latents(
            denoiser,
            noise,
            condition,
            negative,
            options,
            generators,
            on_step=on_step,
            constrain=constrain,
            timesteps=self.timesteps(options.steps),
            # Ending a little before clean data would leave noise in known frames.
            end=-1 if constrain else self.end,
            variance=self.variance or "fixed_small",
            thresholding=self.thresholding,
        )


def _schedule(config: Mapping[str, Any], name: str) -> NoiseSchedule:
    betas = config.get("beta_schedule")
    if betas is None or config.get("trained_betas") is not None or config.get("use_flow_sigmas"):
        raise UserError(
            f"{name} is of another process than the variance-preserving one of image models here."
        )
    timesteps = int(config.get("num_train_timesteps", 1000))
    start, end = config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
    match betas:
        case "linear":
            schedule = NoiseSchedule.linear(timesteps, start, end)
        case "scaled_linear":
            schedule = NoiseSchedule.scaled_linear(timesteps, start, end)
        case "squaredcos_cap_v2":
            schedule = NoiseSchedule.cosine(timesteps)
        case _:
            raise UserError(f"The beta schedule {betas!r} of {name} is unknown.")
    return schedule.zero_terminal_snr() if config.get("rescale_betas_zero_snr") else schedule


def _parameterization(config: Mapping[str, Any], name: str) -> Parameterization:
    match config.get("prediction_type", "epsilon"):
        case "epsilon":
            return Parameterization.EPS
        case "v_prediction":
            return Parameterization.V
        case "sample":
            return Parameterization.X0
        case other:
            raise UserError(f"The prediction type {other!r} of {name} is unknown.")


def _variance(config: Mapping[str, Any], name: str) -> Variance:
    match config.get("variance_type", "fixed_small"):
        case "learned_range":
            return "learned"
        case "fixed_small":
            return "fixed_small"
        case "fixed_large":
            return "fixed_large"
        case other:
            raise UserError(f"The variance type {other!r} of {name} is unknown.")
