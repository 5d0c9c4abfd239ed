"""From options to what a stage learns from: the frozen model, guided, behind a distillation."""

from __future__ import annotations

import torch

from core.attributes import CAMERA
from core.diffusion.denoiser import Denoiser, DenoiserLike
from core.guidance import ClassifierFreeGuidance
from core.models.image_model import ImageModelLike
from dream3d.distill import (
    CSD,
    ISM,
    SDS,
    SJC,
    VSD,
    Distillation,
    LinearAnnealing,
    LoRAScoreModel,
    X0Reconstruction,
    make_model_space,
)
from dream3d.optimization.optimize import DistillationFactory
from dream3d.optimization.view_conditioning import ViewPerpNeg, ViewTextDenoiser, ViewTexts
from dream3d.options import ObjectOptions, Stage


def build_distillation(
    model: ImageModelLike, prompt: str, options: ObjectOptions, seed: int
) -> DistillationFactory:
    """What the stages of a run learn from an image model.

    The model is frozen. Its denoiser is guided in every stage by the stage's scale; where the camera is said
    in words, by views of the prompt instead of the text of the scenery: with Perp-Neg, but for the losses
    that need the two branches of classifier-free guidance.

    options: as `ObjectOptions.with_model_defaults` gives them.
    Raises UserError where guidance cannot lead away from the negative; see `ImageModelConfig`.
    """
    always = options.loss in ("csd", "ism") or options.camera == "words"  # guided at every scale
    for stage in options.stages:
        model.check_guidance(0.0 if always else stage.scale, options.negative)
    frozen = model.denoiser.requires_grad_(False)
    negative = model.encode([options.negative])
    space = make_model_space(model.first_stage)
    timesteps = LinearAnnealing(*options.noise)
    views = ViewTexts.from_prompt(prompt, model.encode) if options.camera == "words" else None

    def teach(stage: Stage) -> Distillation:
        told = ViewTextDenoiser(frozen, views) if views else frozen
        plain = ClassifierFreeGuidance(
            told, stage.scale, negative, options.rescale, (CAMERA,) if views else ()
        )
        guided: DenoiserLike = ViewPerpNeg(frozen, views, stage.scale, negative) if views else plain
        match options.loss:
            case "x0":
                return X0Reconstruction(guided, timesteps, space, stage.steps)
            case "sds":
                return SDS(guided, timesteps, space)
            case "sjc":
                return SJC(guided, timesteps, space)
            case "csd":
                return CSD(plain, timesteps, space)
            case "vsd":
                follower = LoRAScoreModel(frozen, torch.Generator().manual_seed(seed))
                return VSD(guided, follower, timesteps, space)
            case "ism":
                return ISM(plain, timesteps, space)

    return teach


def build_x0_distillation(denoiser: Denoiser, options: ObjectOptions) -> DistillationFactory:
    """The x0 loss of a denoiser of pixels as it is, such as `dream3d.optimization.oracle.oracle`."""
    timesteps = LinearAnnealing(*options.noise)

    def teach(stage: Stage) -> Distillation:
        return X0Reconstruction(denoiser, timesteps, steps=stage.steps)

    return teach
