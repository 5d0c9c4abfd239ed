"""Classifier-free guidance."""

from collections.abc import Sequence

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.diffusion.parameterization import Parameterization
from core.guidance.base import GuidableDenoiser, Guidance, broadcast_condition, extrapolate, predict_each


class ClassifierFreeGuidance(Guidance):
    """eps = uncond + scale (cond - uncond), Ho & Salimans 2022, equation 6.

    The scale s is diffusers': 1 means no guidance, 0 the negative alone; DreamFusion's omega is s - 1.

    negative: what to lead away from, usually the empty prompt; of length 1, or of the batch's length.
    Only its text is used: its attributes are replaced by those of the condition, so that guidance acts on the
    text alone and leaves camera, phase and shadow as they were asked for.

    rescale: phi in [0, 1] of Lin et al. 2023 ("Common Diffusion Noise Schedules", equations 15-16), on x0 as
    in MVDream (Shi et al. 2023): how far each row's guided x0 is brought back to the standard deviation of
    its conditional x0. Large scales no longer saturate the colors.

    unsaid: groups of `core.attributes` that the negative leaves unsaid, such as (CAMERA, PHASE), so that
    guidance acts on them as on the text. The model must have been trained with them dropped.
    """

    def __init__(
        self,
        denoiser: GuidableDenoiser,
        scale: float,
        negative: Condition,
        rescale: float = 0.0,
        dropped_groups: Sequence[slice] = (),
    ) -> None:
        if not 0 <= rescale <= 1:
            raise ValueError(f"rescale must be from 0 to 1, not {rescale}")
        super().__init__(denoiser)
        self.scale = scale
        self.negative = negative
        self.rescale = rescale
        self.dropped_groups = tuple(dropped_groups)

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """One network call of batch 2B; of batch B where scale is 1.

        Raises ValueError when the negative has neither length 1 nor B.
        """
        if self.scale == 1:
            return self.denoiser.predict(x, t, condition)
        uncond, cond = self.branches(x, t, condition)
        guided = extrapolate(uncond, cond, self.scale)
        return self._rescaled(guided, cond.x0, x, t) if self.rescale else guided

    def branches(self, x: Tensor, t: Tensor, condition: Condition) -> tuple[Prediction, Prediction]:
        """What the negative and what the condition predict, neither clipped. One network call of batch 2B."""
        away = broadcast_condition(self.negative, condition, self.dropped_groups)
        uncond, cond = predict_each(self.denoiser, x, t, [away, condition])
        return uncond, cond

    def _rescaled(self, guided: Prediction, cond: Tensor, x: Tensor, t: Tensor) -> Prediction:
        ratio = cond.flatten(1).std(1) / guided.x0.flatten(1).std(1)
        x0 = guided.x0 * (1 - self.rescale + self.rescale * ratio).view(-1, *[1] * (x.ndim - 1))
        alpha, sigma = self.schedule.scales(t, x)
        return guided._replace(x0=x0, eps=Parameterization.X0.to_eps(x0, x, alpha, sigma))
