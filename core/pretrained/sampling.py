"""Noise schedule, parameterization and sampling settings of a checkpoint's scheduler_config.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.diffusion.timestep_spacing import Spacing, distilled
from core.errors import UserError
from core.guidance import GuidableDenoiser
from core.pretrained.reading import first_line
from core.samplers.ddpm import Variance
from core.sampling import Constraint, StepCallback, sample_latents
from core.sampling_options import SamplerName, SamplingOptions

DISTILLED: dict[str, SamplerName] = {"LCMScheduler": "lcm", "TCDScheduler": "tcd"}


@dataclass(frozen=True, eq=False)
class CheckpointSampler:
    """Noise schedule of a checkpoint's training, and the sampling settings of its publisher.

    spacing, offset: of the timesteps, see `core.diffusion.timestep_spacing`; the offset applies to "leading"
        spacing only.
    end: timestep at which sampling ends, -1 for clean data (0: diffusers' set_alpha_to_one=False).
    sampler: the checkpoint's own.
    variance: of ancestral sampling, which pixel models use.
    teacher_steps: of the model that a checkpoint was distilled from.
    thresholding: percentile and largest limit of `DynamicThresholding`; None disables it.
    """

    schedule: NoiseSchedule
    parameterization: Parameterization
    spacing: Spacing = "leading"
    offset: int = 0
    end: int = -1
    sampler: SamplerName = "ddim"
    variance: Variance | None = None
    teacher_steps: int = 50
    thresholding: tuple[float, float] | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any], ancestral: bool = False) -> CheckpointSampler:
        """Sampler for a scheduler config; missing values are those of diffusers' `DDIMScheduler`.

        Most schedulers of diffusers are different solvers for the same diffusion process. Only the process,
        given by the betas, is read; the scheduler's class is ignored.

        ancestral: use DDPM with the variance of the config instead of DDIM.

        Raises UserError for an unsupported process or parameterization, and for values that are no numbers or
        out of range.
        """
        try:
            return cls._from_config(config, ancestral)
        except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise UserError(
                f"The scheduler's config of this checkpoint is damaged: {first_line(error)}. Download it "
                "again."
            ) from error

    @classmethod
    def _from_config(cls, config: Mapping[str, Any], ancestral: bool) -> CheckpointSampler:
        name = config.get("_class_name", "the scheduler")
        spacing = config.get("timestep_spacing", "leading")
        if spacing not in ("leading", "trailing", "linspace"):
            raise UserError(
                f"The timestep spacing {spacing!r} of {name} is not supported: set timestep_spacing in "
                "scheduler_config.json to leading, trailing or linspace."
            )
        thresholding = config.get("dynamic_thresholding_ratio", 0.995), config.get("sample_max_value", 1.0)
        return cls(
            _schedule(config, name),
            _parameterization(config, name),
            spacing,
            int(config.get("steps_offset", 0)),
            -1 if config.get("set_alpha_to_one", True) else 0,
            "ddpm" if ancestral else DISTILLED.get(name, "ddim"),
            _variance(config, name) if ancestral else None,
            int(config.get("original_inference_steps", 50)),
            thresholding if config.get("thresholding") else None,
        )

    @property
    def distilled(self) -> bool:
        """Whether the checkpoint was distilled to few steps, by its scheduler."""
        return self.sampler in DISTILLED.values()

    def timesteps(self, steps: int, sampler: SamplerName | None = None) -> list[float]:
        """Descending timesteps for a number of steps of a sampler, by default the checkpoint's own.

        Raises UserError when they exceed the schedule.
        """
        sampler = sampler or self.sampler
        if sampler in DISTILLED.values():
            return [*distilled(self.schedule.timesteps, steps, self.teacher_steps)]
        if sampler == "euler":
            return self.schedule.sampling_timesteps(steps, "trailing")
        timesteps = self.schedule.sampling_timesteps(steps, self.spacing)
        if self.spacing == "leading" and self.offset:
            timesteps = [t + self.offset for t in timesteps]
            if timesteps[0] >= self.schedule.timesteps:
                raise UserError(
                    f"{steps} steps are too many for this checkpoint's timesteps: give fewer steps."
                )
        # A step from the end to itself would change nothing.
        return [t for t in timesteps if t > self.end]

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
        """Samples, shaped like noise (B,C,...), at the checkpoint's timesteps; not clamped.

        options: if they name no sampler, the checkpoint's own is used. The rest is as in `sample_latents`.
        """
        options = replace(options, sampler=options.sampler or self.sampler)
        return sample_latents(
            denoiser,
            noise,
            condition,
            negative,
            options,
            generators,
            on_step=on_step,
            constrain=constrain,
            timesteps=self.timesteps(options.steps, options.sampler),
            # An end before clean data would leave noise in known frames.
            end=-1 if constrain else self.end,
            variance=self.variance or "fixed_small",
            thresholding=self.thresholding,
        )


def _schedule(config: Mapping[str, Any], name: str) -> NoiseSchedule:
    """Noise schedule of a config. Raises UserError unless it is a supported variance-preserving one."""
    betas = config.get("beta_schedule")
    if betas is None or config.get("trained_betas") is not None or config.get("use_flow_sigmas"):
        raise UserError(
            f"{name} is not supported: it has another process than the variance-preserving one with a beta "
            "schedule. Give a checkpoint of Stable Diffusion 1.x or 2.x, SDXL or DeepFloyd IF."
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
            raise UserError(
                f"The beta schedule {betas!r} of {name} is not supported: it must be linear, scaled_linear "
                "or squaredcos_cap_v2."
            )
    return schedule.zero_terminal_snr() if config.get("rescale_betas_zero_snr") else schedule


def _parameterization(config: Mapping[str, Any], name: str) -> Parameterization:
    """Parameterization of a config. Raises UserError when it is not supported."""
    match config.get("prediction_type", "epsilon"):
        case "epsilon":
            return Parameterization.EPS
        case "v_prediction":
            return Parameterization.V
        case "sample":
            return Parameterization.X0
        case other:
            raise UserError(
                f"The prediction type {other!r} of {name} is not supported: it must be epsilon, v_prediction "
                "or sample."
            )


def _variance(config: Mapping[str, Any], name: str) -> Variance:
    """Variance of ancestral sampling of a config. Raises UserError when it is not supported."""
    match config.get("variance_type", "fixed_small"):
        case "learned_range":
            return "learned"
        case "fixed_small":
            return "fixed_small"
        case "fixed_large":
            return "fixed_large"
        case other:
            raise UserError(
                f"The variance type {other!r} of {name} is not supported: it must be learned_range, "
                "fixed_small or fixed_large."
            )
