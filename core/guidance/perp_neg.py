"""Perp-Neg: negative prompts whose guidance is orthogonal to that of the prompt."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.guidance.base import GuidableDenoiser, Guidance, broadcast_condition, predict_each


class PerpNeg(Guidance):
    """Perp-Neg guidance: eps = uncond + scale (d - sum_i w_i perp(d_i)).

    Here d = cond - uncond, d_i = negative_i - uncond, and perp(d_i) is the component of d_i that is
    orthogonal to d, row by row. A negative prompt therefore does not weaken what it has in common with the
    prompt. Armandpour et al. 2023, "Re-imagine the Negative Prompt Algorithm: Transform 2D Diffusion into 3D,
    alleviate Janus problem and Beyond".

    scale: guidance scale, as in `ClassifierFreeGuidance`.
    negative: the unconditional branch, the empty prompt.
    negatives: K negative prompts, each of length 1 or B.
    weights: w >= 0, (K,B) or (K,1).

    All branches have the attributes of the condition. Raises ValueError unless there is one row of weights
    for each negative prompt.
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
            raise ValueError(f"weights {tuple(weights.shape)} for {len(negatives)} negative prompts")
        super().__init__(denoiser)
        self.scale = scale
        self.negative = negative
        self.negatives = negatives
        self.weights = weights

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The guided prediction, not clipped. One network call of batch (2 + K) B.

        Raises ValueError when a text or the weights have neither length 1 nor B.
        """
        if self.weights.shape[1] not in (1, len(condition)):
            raise ValueError(f"weights of length {self.weights.shape[1]} for a batch of {len(condition)}")
        others = [broadcast_condition(text, condition) for text in (self.negative, *self.negatives)]
        branches = predict_each(self.denoiser, x, t, [*others, condition])
        # The projection is invariant to scale, so x0 and eps, each linear in the other, stay consistent.
        return branches[-1]._replace(
            x0=self._combine([branch.x0 for branch in branches]),
            eps=self._combine([branch.eps for branch in branches]),
        )

    def _combine(self, branches: Sequence[Tensor]) -> Tensor:
        """The guided x0 or eps, of the branches [uncond, negative_1, ..., negative_K, cond], each (B,...)."""
        uncond, *negatives, cond = branches
        positive = cond - uncond
        direction = positive
        for weight, negative in zip(self.weights.to(cond), negatives, strict=True):
            orthogonal = perpendicular(negative - uncond, positive)
            direction = direction - weight.view(-1, *[1] * (cond.ndim - 1)) * orthogonal
        return uncond + self.scale * direction


def perpendicular(a: Tensor, b: Tensor) -> Tensor:
    """Component of each row of a that is orthogonal to that row of b. Both (B,...); a itself where b is 0."""
    inner = (a * b).flatten(1).sum(1)
    norm = b.square().flatten(1).sum(1).clamp(min=torch.finfo(b.dtype).tiny)
    return a - (inner / norm).view(-1, *[1] * (a.ndim - 1)) * b
