"""Guidance wraps a denoiser and is one: samplers and score distillation never see how it works.

    sharp = DynamicThresholding(denoiser)
    guided = GuidanceInterval(ClassifierFreeGuidance(sharp, 7.5, negative), 0.2, 5.0)

Every one takes a `Guidable`, a `Denoiser` or other guidance, so they nest; `core.guidance.base` says how.
"""

from core.guidance.autoguidance import Autoguidance
from core.guidance.base import GuidableDenoiser, Guidance, broadcast_condition
from core.guidance.classifier import ClassifierGuidance, ClassifierLike
from core.guidance.classifier_free import ClassifierFreeGuidance
from core.guidance.interval import GuidanceInterval
from core.guidance.perp_neg import PerpNeg, perpendicular
from core.guidance.thresholding import DynamicThresholding

__all__ = [
    "Autoguidance",
    "ClassifierFreeGuidance",
    "ClassifierGuidance",
    "ClassifierLike",
    "DynamicThresholding",
    "GuidableDenoiser",
    "Guidance",
    "GuidanceInterval",
    "PerpNeg",
    "broadcast_condition",
    "perpendicular",
]
