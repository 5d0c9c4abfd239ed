"""Score distillation: what a frozen denoiser has to say of renders, as a loss.

Each distillation is a small object. It takes a `Denoises` (guidance around a denoiser is one), `Timesteps`
and a `Space`, and returns a `Distilled` for a batch of renders:

    guided = ClassifierFreeGuidance(model.denoiser, 30, model.encode([""]))
    sds = SDS(guided, LinearAnnealing(), space_of(model.first_stage))
    said = sds(renders, camera_condition(text, azimuth, elevation), progress, generator)
    said.loss.backward()
"""

from dream3d.distill.contract import Distillation, DistillationResult
from dream3d.distill.lora import LoRANetwork
from dream3d.distill.score import CSD, ISM, SDS, SJC, ScoreDistillation, damped_variance, uniform, variance
from dream3d.distill.space import LatentSpace, ModelSpace, PixelSpace, make_model_space
from dream3d.distill.timesteps import DreamTime, LinearAnnealing, Timesteps
from dream3d.distill.variational import VSD, LoRAScoreModel, RenderScoreModel
from dream3d.distill.x0 import Target, X0Reconstruction

__all__ = [
    "CSD",
    "ISM",
    "SDS",
    "SJC",
    "VSD",
    "X0Reconstruction",
    "Distillation",
    "DistillationResult",
    "DreamTime",
    "RenderScoreModel",
    "LatentSpace",
    "LinearAnnealing",
    "LoRANetwork",
    "LoRAScoreModel",
    "PixelSpace",
    "ScoreDistillation",
    "ModelSpace",
    "Target",
    "Timesteps",
    "damped_variance",
    "make_model_space",
    "uniform",
    "variance",
]
