"""From noise and a condition to samples: the one place where sampler, steps and guidance come together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.process import Process
from core.errors import UserError
from core.finite import require_finite
from core.guidance import ClassifierFreeGuidance, DynamicThresholding, GuidableDenoiser, GuidanceInterval
from core.samplers import SamplerState, ddim, ddpm, dpm_solver, euler, heun, lcm, tcd, unipc
from core.samplers.ddpm import Variance
from core.samplers.noise_levels import noise_levels
from core.sampling_options import SamplingOptions

StepCallback = Callable[[SamplerState], None]
"""Called after every sampling step."""

Constraint = Callable[[GuidableDenoiser, Tensor, float], tuple[GuidableDenoiser, Tensor]]
"""(guided denoiser, noise, first timestep) -> both, constrained to known data, such as a first frame."""


def make_generators(prompts: Sequence[str], seeds: Sequence[int] | None) -> list[torch.Generator]:
    """One CPU generator per prompt, so that a seed gives the same noise on every device.

    seeds: 0, 1, ... unless given.

    Raises UserError for empty prompts, for as many seeds as there are not prompts, and seeds out of range.
    """
    seeds = range(len(prompts)) if seeds is None else seeds
    if not prompts or not all(prompt.strip() for prompt in prompts):
        raise UserError("The prompt is empty.")
    if len(seeds) != len(prompts):
        raise UserError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}.")
    if not all(0 <= seed < 2**63 for seed in seeds):
        raise UserError("A seed must be a whole number from 0 to 2^63 - 1.")
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def guide(
    denoiser: GuidableDenoiser,
    negative: Condition,
    options: SamplingOptions,
    weak: GuidableDenoiser | None = None,
) -> GuidableDenoiser:
    """The denoiser with the options' classifier-free guidance away from a negative condition.

    weak: as in `ClassifierFreeGuidance`.
    """
    scale, rescale = options.guidance_scale, options.guidance_rescale
    guidance = ClassifierFreeGuidance(denoiser, scale, negative, rescale, weak=weak)
    return GuidanceInterval(guidance, *options.guidance_interval) if options.guidance_interval else guidance


def sample_latents(
    denoiser: GuidableDenoiser,
    noise: Tensor,
    condition: Condition,
    negative: Condition,
    options: SamplingOptions,
    generators: Sequence[torch.Generator],
    *,
    weak: GuidableDenoiser | None = None,
    on_step: StepCallback | None = None,
    constrain: Constraint | None = None,
    timesteps: Sequence[float] | None = None,
    end: float = -1,
    variance: Variance = "fixed_small",
    thresholding: tuple[float, float] | None = None,
) -> Tensor:
    """The sampler's result for noise (B,...), like the noise, not clamped.

    condition: of length B; negative: of length 1 or B.
    generators: one per sample, for samplers that add noise.
    weak: a weaker version of the model for guidance, see `ClassifierFreeGuidance`.
    constrain: leads the samples to known data; see `video.sampling.reconstruction`.
    timesteps, end: of a checkpoint's own sampler, in place of trailing spacing down to clean data.
    variance: of the sampler ddpm. thresholding: percentile and limit of `DynamicThresholding`.

    Raises UserError where the sampler cannot run on the denoiser's schedule, and for a network's output or a
    sample that is not finite.
    """
    visited = denoiser.schedule.sampling_timesteps(options.steps) if timesteps is None else timesteps
    guided = guide(denoiser, negative, options, weak)
    if thresholding:
        guided = DynamicThresholding(guided, *thresholding)
    if constrain:
        guided, noise = constrain(guided, noise, visited[0])
    states = start_sampler(
        guided, noise, condition, options, generators, timesteps=visited, end=end, variance=variance
    )
    x = noise
    for state in states:
        x = require_finite(state.x, "The sample", f"after step {state.step} of {state.steps}")
        if on_step:
            on_step(state)
    return x


def start_sampler(
    guided: GuidableDenoiser,
    noise: Tensor,
    condition: Condition,
    options: SamplingOptions,
    generators: Sequence[torch.Generator],
    *,
    timesteps: Sequence[float],
    end: float = -1,
    variance: Variance = "fixed_small",
) -> Iterator[SamplerState]:
    """The sampler that the options name, before its first step; arguments as in `sample_latents`."""
    match options.sampler:
        case "ddpm":
            return ddpm(
                guided, noise, condition, timesteps=timesteps, variance=variance, generators=generators
            )
        case "dpm-solver++":
            return dpm_solver(guided, noise, condition, timesteps=timesteps, end=end)
        case "unipc":
            return unipc(guided, noise, condition, timesteps=timesteps, end=end)
        case "heun":
            return heun(guided, noise, condition, timesteps=timesteps, end=end)
        case "euler" if guided.schedule.process is Process.RECTIFIED_FLOW:
            return euler(guided, noise, condition, timesteps=timesteps, end=end)
        case "euler":  # in sigma / alpha, from noise of exactly the first level
            (first,) = noise_levels(guided.schedule, timesteps[:1])
            return ddim(guided, first.sigma * noise, condition, timesteps=timesteps)
        case "lcm":
            return lcm(guided, noise, condition, timesteps=timesteps, generators=generators)
        case "tcd":
            return tcd(guided, noise, condition, timesteps=timesteps, eta=options.eta, generators=generators)
        case _:
            return ddim(
                guided, noise, condition, timesteps=timesteps, end=end, eta=options.eta, generators=generators
            )
