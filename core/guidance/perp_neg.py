"""Perp-Neg: texts to avoid that take nothing from the prompt."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.guidance.base import GuidableDenoiser, Guidance, broadcast_condition, predict_each


class PerpNeg(Guidance):
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
        denoiser: GuidableDenoiser,
        scale: float,
        negative: Condition,
        negatives: Sequence[Condition],
        weights: Tensor,
    ) -> None:
        if weights.ndim != 2 or len(weights) != len(negatives):
            raise ValueError(f"weights {tuple(weights.shape)} for {len(negatives)} texts to avoid")
        super().__init__(denoiser)
        self.scale = scale
        self.negative = negative
        self.negatives = negatives
        self.weights = weights

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """One network call of batch (2 + len(against)) B.

        Raises ValueError when a text or the weights have neither length 1 nor B.
        """
        if self.weights.shape[1] not in (1, len(condition)):
            raise ValueError(f"weights of length {self.weights.shape[1]} for a batch of {len(condition)}")
        others = [broadcast_condition(text, condition) for text in (self.negative, *self.negatives)]
        branches = predict_each(self.denoiser, x, t, [*others, condition])
        # Projection does not care for scale, so x0 and eps, each linear in the other, stay consistent.
        return branches[-1]._replace(
            x0=self._lead([branch.x0 for branch in branches]),
            eps=self._lead([branch.eps for branch in branches]),
        )

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
