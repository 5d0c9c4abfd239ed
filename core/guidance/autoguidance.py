"""Autoguidance: guidance by a weaker version of the model."""

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.guidance.base import GuidableDenoiser, Guidance, check_schedules_agree, extrapolate


class Autoguidance(Guidance):
    """Autoguidance: eps = weak + scale (eps - weak).

    Karras et al. 2024, "Guiding a Diffusion Model with a Bad Version of Itself", section 4. It needs no
    unconditional branch, and reduces the diversity of samples less than classifier-free guidance.

    weak: the same kind of model with the same condition, but smaller or trained for less time. Its errors are
        those of the model, but larger, so the extrapolation reduces them.
    scale: w of the paper; 1 disables guidance.

    Raises ValueError when the two have different noise schedules.
    """

    def __init__(self, denoiser: GuidableDenoiser, weak: GuidableDenoiser, scale: float) -> None:
        check_schedules_agree(denoiser, weak.schedule, "weak model")
        super().__init__(denoiser)
        self.weak = weak
        self.scale = scale

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The guided prediction, not clipped.

        One network call of batch B to each model, or to the wrapped one alone if scale is 1.
        """
        strong = self.denoiser.predict(x, t, condition)
        if self.scale == 1:
            return strong
        return extrapolate(self.weak.predict(x, t, condition), strong, self.scale)
