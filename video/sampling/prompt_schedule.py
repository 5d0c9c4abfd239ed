"""Prompts that change over time: a text for each frame, cross-faded at the changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.guidance.base import GuidableDenoiser, Guidance, broadcast_condition
from core.sampling import Constraint

FADE = 4  # frames over which a prompt passes into the next


class ScheduledPrompts(Guidance):
    """Denoises every frame of a clip under a text of its own, as a mixture of predictions.

    Prompts are given one after another for the whole clip, whose frames see each other, and the predictions
    are averaged frame by frame, as in Bar-Tal et al. 2023, "MultiDiffusion", equation 5.

    texts: conditions of length 1 or B, whose text counts; the attributes are those of the condition.
    weights: (P,F), of each text in each frame; the sum over texts is 1.
    """

    def __init__(self, denoiser: GuidableDenoiser, texts: Sequence[Condition], weights: Tensor) -> None:
        super().__init__(denoiser)
        self.texts = texts
        self.weights = weights

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The network calls of what is wrapped, once for each text that has a weight in the clip."""
        parts: list[Prediction] = []
        for text, weight in zip(self.texts, self.weights, strict=True):
            if weight.any():
                prediction = self.denoiser.predict(x, t, broadcast_condition(text, condition))
                share = weight.to(x).view(-1, 1, 1)
                parts.append(prediction._replace(x0=share * prediction.x0, eps=share * prediction.eps))
        x0, eps = (torch.stack(each).sum(0) for each in zip(*(part[:2] for part in parts), strict=True))
        return parts[0]._replace(x0=x0, eps=eps)


@dataclass(frozen=True, eq=False)
class PromptSchedule:
    """Texts of a clip and their weights in its frames; arguments as in `ScheduledPrompts`."""

    texts: Sequence[Condition]
    weights: Tensor

    def of_frames(self, window: slice) -> Constraint:
        """The sampling constraint that some frames of the clip follow their texts."""
        weights = self.weights[:, window]

        def constrain(denoiser: GuidableDenoiser, noise: Tensor, t: float) -> tuple[GuidableDenoiser, Tensor]:
            return ScheduledPrompts(denoiser, self.texts, weights), noise

        return constrain


def fade_weights(starts: Sequence[float], frames: int, fade: float = FADE) -> Tensor:
    """Weights (P,frames) of P texts that start at the given frames, ascending; their sum in a frame is 1.

    A text rises from 0 to 1 linearly over `fade` frames, in the middle of which it starts; the first one has
    the clip's beginning to itself.
    """
    frame = torch.arange(frames, dtype=torch.float32)
    rise = [torch.ones(frames)]
    rise += [((frame - start) / fade + 0.5).clamp(0, 1) for start in starts[1:]]
    weights: list[Tensor] = []
    left = torch.ones(frames)
    for each in reversed(rise):
        weights.insert(0, left * each)
        left = left * (1 - each)
    return torch.stack(weights)


def chain(first: Constraint, second: Constraint | None) -> Constraint:
    """Two constraints, the second around the first."""
    if second is None:
        return first

    def constrain(denoiser: GuidableDenoiser, noise: Tensor, t: float) -> tuple[GuidableDenoiser, Tensor]:
        return second(*first(denoiser, noise, t), t)

    return constrain
