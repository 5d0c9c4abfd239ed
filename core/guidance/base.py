"""What all guidance has in common.

A guidance has two halves, as a `Denoiser` is: `predict` extrapolates, which must happen before anything is
clipped, and `clipped` limits the result. Calling it does both. It uses the `predict` of what it wraps and
leaves `clipped` to it: the limit applies once, after all guidance, however deep it nests.
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
    """What guidance wraps: a `Denoiser`, or other guidance."""

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """As the call, without any limit on x0."""
        ...

    def clip_prediction(self, prediction: Prediction, x: Tensor, t: Tensor) -> Prediction:
        """The prediction with x0 within its limits and eps in agreement with it."""
        ...


class Guidance(ABC):
    """A `Guidable` around another one.

    A learned variance is not extrapolated: the condition's own goes on, as in DeepFloyd IF.
    """

    def __init__(self, denoiser: GuidableDenoiser) -> None:
        self.denoiser = denoiser

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """As `Denoiser.forward`; for its network calls and errors see `predict`."""
        return self.clip_prediction(self.predict(x, t, condition), x, t)

    @abstractmethod
    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The guided prediction, not clipped. Arguments as of `Denoiser.forward`."""

    def clip_prediction(self, prediction: Prediction, x: Tensor, t: Tensor) -> Prediction:
        """The prediction within the limits of what is wrapped."""
        return self.denoiser.clip_prediction(prediction, x, t)


def extrapolate(away: Prediction, towards: Prediction, scale: float) -> Prediction:
    """away + scale (towards - away), not clipped.

    x0 is linear in eps at fixed x_t, so extrapolating both keeps them consistent, at alpha = 0 too.
    """
    return towards._replace(
        x0=away.x0 + scale * (towards.x0 - away.x0),
        eps=away.eps + scale * (towards.eps - away.eps),
    )


def predict_each(
    denoiser: GuidableDenoiser, x: Tensor, t: Tensor, conditions: Sequence[Condition]
) -> list[Prediction]:
    """What x_t looks like under each condition, all of length B, not clipped. One network call for all."""
    count = len(conditions)
    joined = denoiser.predict(torch.cat([x] * count), torch.cat([t] * count), Condition.cat(conditions))
    parts = {name: part.chunk(count) for name, part in joined._asdict().items() if part is not None}
    return [Prediction(**{name: rows[i] for name, rows in parts.items()}) for i in range(count)]


def broadcast_condition(
    text: Condition, condition: Condition, dropped_groups: Sequence[slice] = ()
) -> Condition:
    """The text of one condition with the length, device, dtype and attributes of another.

    unsaid: groups of `core.attributes` that are left out.
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
    """Raises ValueError where a timestep means another noise level to the other."""
    if denoiser.schedule.to_dict() != other.to_dict():
        raise ValueError(f"the {whose} is of {other}, the denoiser of {denoiser.schedule}")
