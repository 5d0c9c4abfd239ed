"""Base class and helpers of guidance.

A guidance has the same two stages as a `Denoiser`. `predict` extrapolates, which must happen before clipping.
`clip_prediction` limits the result. A call runs both. A guidance calls `predict` of the denoiser that it
wraps and delegates `clip_prediction` to it, so the limit applies once, after all guidance, at any depth of
nesting.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike, Prediction
from core.diffusion.schedule import NoiseSchedule


class GuidableDenoiser(DenoiserLike, Protocol):
    """Protocol of the denoisers that guidance can wrap: a `Denoiser`, or another guidance."""

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The prediction of the call, without any limit on x0."""
        ...

    def clip_prediction(self, prediction: Prediction, x: Tensor, t: Tensor) -> Prediction:
        """The prediction with x0 within its limits and eps recomputed from it."""
        ...


class Guidance(ABC):
    """Abstract base class: a `GuidableDenoiser` that wraps another one.

    A learned variance is not extrapolated: that of the conditional prediction is used, as in DeepFloyd IF.
    """

    def __init__(self, denoiser: GuidableDenoiser) -> None:
        self.denoiser = denoiser

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule of the wrapped denoiser."""
        return self.denoiser.schedule

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The guided prediction, clipped. Arguments are those of `Denoiser.forward`; errors, of `predict`."""
        return self.clip_prediction(self.predict(x, t, condition), x, t)

    @abstractmethod
    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The guided prediction, not clipped. Arguments are those of `Denoiser.forward`."""

    def clip_prediction(self, prediction: Prediction, x: Tensor, t: Tensor) -> Prediction:
        """The prediction within the limits of the wrapped denoiser."""
        return self.denoiser.clip_prediction(prediction, x, t)


def extrapolate(away: Prediction, towards: Prediction, scale: float) -> Prediction:
    """Linear extrapolation away + scale (towards - away) of two predictions, not clipped.

    away: the negative prediction; towards: the positive one. x0 is linear in eps at fixed x_t, so
    extrapolating both keeps them consistent, also at alpha = 0.
    """
    return towards._replace(
        x0=away.x0 + scale * (towards.x0 - away.x0),
        eps=away.eps + scale * (towards.eps - away.eps),
    )


def predict_each(
    denoiser: GuidableDenoiser, x: Tensor, t: Tensor, conditions: Sequence[Condition]
) -> list[Prediction]:
    """Predictions for x_t under each condition, all of length B, not clipped. One network call for all."""
    count = len(conditions)
    joined = denoiser.predict(torch.cat([x] * count), torch.cat([t] * count), Condition.cat(conditions))
    parts = {name: part.chunk(count) for name, part in joined._asdict().items() if part is not None}
    return [Prediction(**{name: rows[i] for name, rows in parts.items()}) for i in range(count)]


def broadcast_condition(
    text: Condition, condition: Condition, dropped_groups: Sequence[slice] = ()
) -> Condition:
    """The text of one condition with the length, device, dtype and attributes of another.

    dropped_groups: groups of `core.attributes` that are set to zero.

    Raises ValueError when the text has neither length 1 nor that of the condition.
    """
    batch = len(condition)
    if len(text) not in (1, batch):
        raise ValueError(f"a text of length {len(text)} for a batch of {batch}")
    text = text.to(condition.tokens.device, condition.tokens.dtype)
    if len(text) != batch:
        text = text.repeat_interleave(batch)
    attributes = condition.attributes
    if dropped_groups:
        attributes = attributes.clone()
        for group in dropped_groups:
            attributes[..., group] = 0
    return replace(text, attributes=attributes)


def check_schedules_agree(denoiser: GuidableDenoiser, other: NoiseSchedule, whose: str) -> None:
    """Raises ValueError when two noise schedules differ, so that a timestep means two noise levels.

    whose: the owner of the other schedule, for the message.
    """
    if denoiser.schedule.to_dict() != other.to_dict():
        raise ValueError(f"the {whose} has the schedule {other}, the denoiser has {denoiser.schedule}")
