"""Autoguidance: away from a weaker version of the model itself."""

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.guidance.base import GuidableDenoiser, Guidance, check_schedules_agree, extrapolate


class Autoguidance(Guidance):
    """eps = weak + scale (eps - weak).

    Karras et al. 2024, "Guiding a Diffusion Model with a Bad Version of Itself", section 4.

    weak: the same kind of model, told the same condition, but smaller or trained for less time: it errs where
    the model errs, only more, and the extrapolation undoes both. Needs no unconditional branch and
    costs less of the variety of the results than classifier-free guidance.
    scale: w of the paper; 1 means no guidance.

    Raises ValueError where the two are of different noise schedules.
    """

    def __init__(self, denoiser: GuidableDenoiser, weak: GuidableDenoiser, scale: float) -> None:
        check_schedules_agree(denoiser, weak.schedule, "weak model")
        super().__init__(denoiser)
        self.weak = weak
        self.scale = scale

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """One network call of batch B to each model; only to the wrapped one where scale is 1."""
        strong = self.denoiser.predict(x, t, condition)
        if self.scale == 1:
            return strong
        return extrapolate(self.weak.predict(x, t, condition), strong, self.scale)
