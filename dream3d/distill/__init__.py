"""Score distillation losses of rendered views under a frozen denoiser.

A distillation is built from a `DenoiserLike` (a denoiser, or guidance around one), `Timesteps` and a
`ModelSpace`. It returns a `DistillationResult` for a batch of renders:

    guided = ClassifierFreeGuidance(model.denoiser, 30, model.encode([""]))
    sds = SDS(guided, LinearAnnealing(), make_model_space(model.first_stage))
    result = sds(renders, camera_condition(text, azimuth, elevation), progress, generator)
    result.loss.backward()
"""

from dream3d.distill.contract import Distillation, DistillationResult
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
    "Distillation",
    "DistillationResult",
    "DreamTime",
    "LatentSpace",
    "LinearAnnealing",
    "LoRAScoreModel",
    "ModelSpace",
    "PixelSpace",
    "RenderScoreModel",
    "ScoreDistillation",
    "Target",
    "Timesteps",
    "X0Reconstruction",
    "damped_variance",
    "make_model_space",
    "uniform",
    "variance",
]
