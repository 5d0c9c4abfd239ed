"""Classifier-free guidance."""

from collections.abc import Sequence

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.diffusion.parameterization import Parameterization
from core.guidance.base import (
    GuidableDenoiser,
    Guidance,
    broadcast_condition,
    check_schedules_agree,
    extrapolate,
    predict_each,
)

WEAK_SCALE = 2.5  # beyond it what a weak model does badly is exaggerated into outlines, and then into noise


class ClassifierFreeGuidance(Guidance):
    """Classifier-free guidance: eps = uncond + scale (cond - uncond), Ho & Salimans 2022, equation 6.

    scale: guidance scale s as in diffusers: 1 disables guidance, 0 gives the negative prediction.
        DreamFusion's omega is s - 1.
    negative: condition of the negative branch, usually the empty prompt; of length 1 or B. Only its text is
        used. Its attributes are those of the condition, so that guidance acts on the text alone and does not
        exaggerate camera, phase and shadow.
    rescale: phi in [0, 1] of Lin et al. 2023 ("Common Diffusion Noise Schedules", equations 15-16), applied
        to x0 as in MVDream (Shi et al. 2023). At 1 each row's guided x0 has the standard deviation of its
        conditional x0, at 0 it is unchanged. Rescaling prevents saturated colors at large scales.
    dropped_groups: groups of `core.attributes` to drop from the negative branch, such as (CAMERA, PHASE), so
        that guidance acts on them too. The model must have been trained with these groups dropped.
    weak: a weaker version of the model, smaller or trained for less time, that predicts the negative branch
        in its place: classifier-free guidance and autoguidance (Karras et al. 2024, "Guiding a Diffusion
        Model with a Bad Version of Itself") in one, for the arithmetic of the former or less. It leads no
        farther than at scale 2.5: of a larger one, the rest leads away from the model's own negative branch.

    Raises ValueError when rescale is outside [0, 1], or when the weak model has another noise schedule.
    """

    def __init__(
        self,
        denoiser: GuidableDenoiser,
        scale: float,
        negative: Condition,
        rescale: float = 0.0,
        dropped_groups: Sequence[slice] = (),
        weak: GuidableDenoiser | None = None,
    ) -> None:
        if not 0 <= rescale <= 1:
            raise ValueError(f"rescale must be from 0 to 1, not {rescale}")
        if weak:
            check_schedules_agree(denoiser, weak.schedule, "weak model")
        super().__init__(denoiser)
        self.scale = scale
        self.negative = negative
        self.rescale = rescale
        self.dropped_groups = tuple(dropped_groups)
        self.weak = weak

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The guided prediction, not clipped. The calls of `branches`, or one of batch B if scale is 1.

        Raises ValueError when the negative has neither length 1 nor B.
        """
        if self.scale == 1:
            return self.denoiser.predict(x, t, condition)
        uncond, cond = self.branches(x, t, condition)
        guided = extrapolate(uncond, cond, self.scale)
        return self._rescaled(guided, cond.x0, x, t) if self.rescale else guided

    def branches(self, x: Tensor, t: Tensor, condition: Condition) -> tuple[Prediction, Prediction]:
        """The predictions of the negative and of the condition, not clipped.

        One network call of batch 2B; with a weak model, one of batch B to each model, or both at scales above
        2.5.
        """
        negative = broadcast_condition(self.negative, condition, self.dropped_groups)
        if self.weak is None:
            uncond, cond = predict_each(self.denoiser, x, t, [negative, condition])
            return uncond, cond
        weak = self.weak.predict(x, t, negative)
        if self.scale <= WEAK_SCALE:
            return weak, self.denoiser.predict(x, t, condition)
        uncond, cond = predict_each(self.denoiser, x, t, [negative, condition])
        return extrapolate(uncond, weak, (WEAK_SCALE - 1) / (self.scale - 1)), cond

    def _rescaled(self, guided: Prediction, cond: Tensor, x: Tensor, t: Tensor) -> Prediction:
        """The guided prediction, rescaled to the standard deviation of the conditional x0."""
        ratio = cond.flatten(1).std(1) / guided.x0.flatten(1).std(1)
        x0 = guided.x0 * (1 - self.rescale + self.rescale * ratio).view(-1, *[1] * (x.ndim - 1))
        alpha, sigma = self.schedule.scales(t, x)
        return guided._replace(x0=x0, eps=Parameterization.X0.to_eps(x0, x, alpha, sigma))
