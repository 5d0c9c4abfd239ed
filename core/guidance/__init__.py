"""Guidance: wrappers of a denoiser that are denoisers themselves, for samplers and score distillation.

    sharp = DynamicThresholding(denoiser)
    guided = GuidanceInterval(ClassifierFreeGuidance(sharp, 7.5, negative), 0.2, 5.0)

Each wraps a `GuidableDenoiser`: a `Denoiser` or another guidance. They therefore nest; `core.guidance.base`
explains how.
"""

from core.guidance.autoguidance import Autoguidance
from core.guidance.base import GuidableDenoiser, Guidance, broadcast_condition
from core.guidance.classifier import ClassifierGuidance, ClassifierLike
from core.guidance.classifier_free import ClassifierFreeGuidance
from core.guidance.gradient import GradientGuidance, LogDensity
from core.guidance.interval import GuidanceInterval
from core.guidance.perp_neg import PerpNeg, perpendicular
from core.guidance.thresholding import DynamicThresholding

__all__ = [
    "Autoguidance",
    "ClassifierFreeGuidance",
    "ClassifierGuidance",
    "ClassifierLike",
    "DynamicThresholding",
    "GradientGuidance",
    "GuidableDenoiser",
    "Guidance",
    "GuidanceInterval",
    "LogDensity",
    "PerpNeg",
    "broadcast_condition",
    "perpendicular",
]
