"""Guidance wraps a denoiser and is one: samplers and score distillation never see how it works."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from core.condition import Condition
from core.denoiser import Denoiser, Prediction
from core.parameterization import Parameterization
from core.schedule import NoiseSchedule


class ClassifierFreeGuidance:
    """eps = uncond + scale (cond - uncond), Ho & Salimans 2022, equation 6.

    The scale s is diffusers': 1 means no guidance, 0 the negative alone; DreamFusion's omega is s - 1.

    negative: what to lead away from, usually the empty prompt; of length 1, or of the batch's length.
    Only its text is used: its attributes are replaced by those of the condition, so that guidance acts on the
    text alone and leaves camera, phase and shadow as they were asked for.

    rescale: phi in [0, 1] of Lin et al. 2023 ("Common Diffusion Noise Schedules", equations 15-16), on x0 as
    in MVDream (Shi et al. 2023): how far each row's guided x0 is brought back to the standard deviation of
    its conditional x0. Large scales no longer saturate the colours.

    The denoiser's clip applies once, after extrapolation and rescaling.
    """

    def __init__(self, denoiser: Denoiser, scale: float, negative: Condition, rescale: float = 0.0) -> None:
        if not 0 <= rescale <= 1:
            raise ValueError(f"rescale must be from 0 to 1, not {rescale}")
        self.denoiser = denoiser
        self.scale = scale
        self.negative = negative
        self.rescale = rescale

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """As `Denoiser.forward`. One network call of batch 2B; of batch B where scale is 1.

        Raises ValueError when the negative has neither length 1 nor B.
        """
        if self.scale == 1:
            return self.denoiser(x, t, condition)
        uncond, cond = self.branches(x, t, condition)
        # x0 is linear in eps at fixed x_t, so extrapolating both keeps them consistent, at alpha = 0 too.
        guided = Prediction(*(u + self.scale * (c - u) for u, c in zip(uncond, cond, strict=True)))
        if self.rescale:
            guided = self._rescaled(guided.x0, cond.x0, x, t)
        return self.denoiser.clipped(guided, x, t)

    def branches(self, x: Tensor, t: Tensor, condition: Condition) -> tuple[Prediction, Prediction]:
        """What the negative and what the condition predict, neither clipped. One network call of batch 2B."""
        joined = Condition.cat([alongside(self.negative, condition), condition])
        both = self.denoiser.predict(torch.cat([x, x]), torch.cat([t, t]), joined)
        halves = [part.chunk(2) for part in both]
        return Prediction(*(half[0] for half in halves)), Prediction(*(half[1] for half in halves))

    def _rescaled(self, x0: Tensor, cond: Tensor, x: Tensor, t: Tensor) -> Prediction:
        ratio = cond.flatten(1).std(1) / x0.flatten(1).std(1)
        x0 = x0 * (1 - self.rescale + self.rescale * ratio).view(-1, *[1] * (x0.ndim - 1))
        alpha, sigma = self.schedule.alpha(t, x), self.schedule.sigma(t, x)
        return Prediction(x0, Parameterization.X0.to_eps(x0, x, alpha, sigma))


class PerpNeg:
    """eps = uncond + scale (d - sum_i w_i perp(d_i)), d = cond - uncond, d_i = against_i - uncond.

    Armandpour et al. 2023, "Re-imagine the Negative Prompt Algorithm: Transform 2D Diffusion into 3D,
    alleviate Janus problem and Beyond". perp(d_i) is the part of d_i that is orthogonal, row by row, to d, so
    that a text to be avoided takes nothing from what the prompt has in common with it.

    scale: as in `ClassifierFreeGuidance`. negative: the empty prompt.
    against: texts to avoid, each of length 1 or of the batch's; weights: w >= 0, (len(against), B) or
        (len(against), 1). Attributes are the condition's throughout.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        negative: Condition,
        against: Sequence[Condition],
        weights: Tensor,
    ) -> None:
        if weights.ndim != 2 or len(weights) != len(against):
            raise ValueError(f"weights {tuple(weights.shape)} for {len(against)} texts to avoid")
        self.denoiser = denoiser
        self.scale = scale
        self.negative = negative
        self.against = against
        self.weights = weights

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """As `Denoiser.forward`. One network call of batch (2 + len(against)) B.

        Raises ValueError when a text or the weights have neither length 1 nor B.
        """
        if self.weights.shape[1] not in (1, len(condition)):
            raise ValueError(f"weights of length {self.weights.shape[1]} for a batch of {len(condition)}")
        others = [alongside(text, condition) for text in (self.negative, *self.against)]
        joined = Condition.cat([*others, condition])
        count = len(others) + 1
        branches = self.denoiser.predict(torch.cat([x] * count), torch.cat([t] * count), joined)
        # Projection does not care for scale, so x0 and eps, each linear in the other, stay consistent.
        guided = Prediction(*(self._lead(branch.chunk(count)) for branch in branches))
        return self.denoiser.clipped(guided, x, t)

    def _lead(self, branches: Sequence[Tensor]) -> Tensor:
        uncond, *against, cond = branches
        towards = cond - uncond
        lead = towards
        for weight, avoided in zip(self.weights.to(cond), against, strict=True):
            aside = perpendicular(avoided - uncond, towards)
            lead = lead - weight.view(-1, *[1] * (cond.ndim - 1)) * aside
        return uncond + self.scale * lead


def perpendicular(a: Tensor, b: Tensor) -> Tensor:
    """The part of each row of a that is orthogonal to that row of b. Both (B,...); a itself where b is 0."""
    inner = (a * b).flatten(1).sum(1)
    norm = b.square().flatten(1).sum(1).clamp(min=torch.finfo(b.dtype).tiny)
    return a - (inner / norm).view(-1, *[1] * (a.ndim - 1)) * b


def alongside(text: Condition, condition: Condition) -> Condition:
    """The text of one condition with the length, device, dtype and attributes of another.

    Raises ValueError when the text has neither length 1 nor that of the condition.
    """
    batch = len(condition)
    if len(text) not in (1, batch):
        raise ValueError(f"a text of length {len(text)} for a batch of {batch}")
    text = text.to(condition.tokens.device, condition.tokens.dtype)
    if len(text) != batch:
        text = text.repeat_interleave(batch)
    return replace(text, attributes=condition.attributes)
