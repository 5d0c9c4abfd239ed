"""Distillation losses of a run, built from its options and a frozen image model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from core.attributes import CAMERA
from core.diffusion.denoiser import Denoiser, DenoiserLike
from core.errors import UserError
from core.guidance import ClassifierFreeGuidance, GuidanceInterval
from core.models.image_model import ImageModelLike
from core.samplers import dpm_solver, heun, unipc
from core.tiers import ArithmeticTier, compute_dtype, tier_context
from dream3d.distill import (
    CSD,
    ISM,
    SDS,
    SJC,
    VSD,
    Distillation,
    DreamTime,
    LinearAnnealing,
    LoRAScoreModel,
    Timesteps,
    X0Reconstruction,
    make_model_space,
)
from dream3d.optimization.optimize import DistillationFactory
from dream3d.optimization.view_conditioning import ViewPerpNeg, ViewTextDenoiser, ViewTexts
from dream3d.options import ObjectOptions, Stage

SAMPLERS = {"ddim": None, "dpm-solver++": dpm_solver, "unipc": unipc, "heun": heun}  # of targets


def build_distillation(
    model: ImageModelLike, prompt: str, options: ObjectOptions, seed: int
) -> DistillationFactory:
    """A function that makes the distillation loss of each stage from an image model.

    The model is frozen. Every stage uses its own guidance scale. With the camera in words, view-dependent
    texts replace the texts of the backgrounds, and guidance is Perp-Neg; the losses that need both branches
    of classifier-free guidance (CSD, ISM) use the texts without Perp-Neg.

    options: from `ObjectOptions.with_model_defaults`.
    seed: of the adapters of VSD.
    Raises UserError where guidance needs an unconditional prediction that the model was not trained for; see
    `ImageModelConfig`.
    """
    # These need the negative prompt at every scale, 1 included.
    always = options.loss in ("csd", "ism") or options.camera == "words"
    for stage in options.stages:
        model.check_guidance(0.0 if always else stage.scale, options.negative)
    if options.negative and not options.reads_negative:
        raise UserError("--negative has no effect at guidance scale 1: give --guidance above 1.")
    if options.guidance_interval and options.camera == "words":
        raise UserError("A guidance interval needs a model with a camera input: Perp-Neg has none.")
    frozen = _in_tier(model.denoiser.requires_grad_(False), options, model.device)
    negative = model.encode([options.negative])
    space = make_model_space(model.first_stage)
    timesteps = make_timesteps(options)
    views = ViewTexts.from_prompt(prompt, model.encode) if options.camera == "words" else None
    weak = model.weak and _in_tier(model.weak, options, model.device)
    weak = weak if options.loss == "x0" and not views else None  # its targets are samples

    def make_distillation(stage: Stage) -> Distillation:
        conditioned = ViewTextDenoiser(frozen, views) if views else frozen
        plain = ClassifierFreeGuidance(
            conditioned, stage.scale, negative, options.rescale, (CAMERA,) if views else (), weak
        )
        guided: DenoiserLike = ViewPerpNeg(frozen, views, stage.scale, negative) if views else plain
        if options.guidance_interval and not views:
            guided = GuidanceInterval(plain, *options.guidance_interval)
        match options.loss:
            case "x0":
                return X0Reconstruction(guided, timesteps, space, stage.steps, SAMPLERS[options.sampler])
            case "sds":
                return SDS(guided, timesteps, space)
            case "sjc":
                return SJC(guided, timesteps, space)
            case "csd":
                return CSD(plain, timesteps, space)
            case "vsd":
                score_model = LoRAScoreModel(model.denoiser, torch.Generator().manual_seed(seed))
                return VSD(guided, score_model, timesteps, space)
            case "ism":
                return ISM(plain, timesteps, space)

    return make_distillation


def _in_tier(denoiser: Denoiser, options: ObjectOptions, device: torch.device) -> Denoiser:
    """The denoiser whose network computes as the options' tier says."""
    if compute_dtype(options.arithmetic, device) == "float32":
        return denoiser
    return denoiser.with_network(_TierNetwork(denoiser.network, options.arithmetic, device))


class _TierNetwork(nn.Module):
    """A network that computes in a tier."""

    def __init__(self, network: nn.Module, tier: ArithmeticTier, device: torch.device) -> None:
        super().__init__()
        self.network, self.device = network, device
        self.tier: ArithmeticTier = tier

    def forward(self, *inputs: Any) -> Tensor:
        with tier_context(self.tier, self.device):
            return self.network(*inputs)


def make_timesteps(options: ObjectOptions) -> Timesteps:
    """The timestep sampling of the options."""
    if options.timesteps == "dreamtime":
        return DreamTime(limits=(min(lower for lower, _ in options.noise), options.noise[0][1]))
    return LinearAnnealing(*options.noise)


def build_x0_distillation(denoiser: Denoiser, options: ObjectOptions) -> DistillationFactory:
    """The x0 loss of an unguided pixel-space denoiser, for example `oracle.scene_denoiser`."""
    timesteps = LinearAnnealing(*options.noise)

    def make_distillation(stage: Stage) -> Distillation:
        return X0Reconstruction(denoiser, timesteps, steps=stage.steps)

    return make_distillation
