"""From options to what a stage learns from: the frozen model, guided, behind a distillation."""

from __future__ import annotations

import torch

from core.denoiser import Denoiser, Denoises
from core.guidance import ClassifierFreeGuidance
from core.image_model import ImageModel
from dream3d.distill import (
    CSD,
    ISM,
    SDS,
    SJC,
    VSD,
    X0,
    Distillation,
    LinearAnnealing,
    LowRankFollower,
    space_of,
)
from dream3d.optimize import Teacher
from dream3d.options import ObjectOptions, Stage
from dream3d.views import ViewGuidance, ViewTexts


def teacher_of(model: ImageModel, prompt: str, options: ObjectOptions, seed: int) -> Teacher:
    """What the stages of a run learn from an image model.

    The model is frozen. Its denoiser is guided in every stage by the stage's scale; where the camera is said
    in words, by views of the prompt instead of the text of the scenery.

    Raises UserError where guidance cannot lead away from the negative; see `ImageModelConfig`.
    """
    always = options.loss in ("csd", "ism") or options.camera == "words"  # guided at every scale
    for stage in options.stages:
        model.config.check_guidance(0.0 if always else stage.guidance, options.negative)
    frozen = model.denoiser.requires_grad_(False)
    negative = model.encode([options.negative])
    space = space_of(model.first_stage)
    timesteps = LinearAnnealing(*options.noise)
    views = ViewTexts.of(prompt, model.encode) if options.camera == "words" else None

    def teach(stage: Stage) -> Distillation:
        plain = ClassifierFreeGuidance(frozen, stage.guidance, negative, options.rescale)
        guided: Denoises = ViewGuidance(frozen, views, stage.guidance, negative) if views else plain
        match options.loss:
            case "x0":
                return X0(guided, timesteps, space, stage.steps)
            case "sds":
                return SDS(guided, timesteps, space)
            case "sjc":
                return SJC(guided, timesteps, space)
            case "csd":
                return CSD(plain, timesteps, space)
            case "vsd":
                follower = LowRankFollower(frozen, torch.Generator().manual_seed(seed))
                return VSD(guided, follower, timesteps, space)
            case "ism":
                return ISM(plain, timesteps, space)

    return teach


def taught_by(denoiser: Denoiser, options: ObjectOptions) -> Teacher:
    """What stages learn from a denoiser of pixels as it is, such as `dream3d.oracle.oracle`: the x0 form."""
    timesteps = LinearAnnealing(*options.noise)

    def teach(stage: Stage) -> Distillation:
        return X0(denoiser, timesteps, steps=stage.steps)

    return teach
