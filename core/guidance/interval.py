"""Guidance in a limited interval of noise levels."""

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.guidance.base import Guidance
from core.guidance.thresholding import DynamicThresholding


class GuidanceInterval(Guidance):
    """Guidance at noise levels low < sigma / alpha <= high, and the unguided denoiser at all others.

    Kynkaanniemi et al. 2024, "Applying Guidance in a Limited Interval Improves Sample and Distribution
    Quality in Diffusion Models", section 3. At high noise guidance reduces the diversity of samples; at low
    noise it has little effect. Outside the interval its network calls are saved.

    guidance: the guidance inside the interval. Outside, the denoiser that it wraps is used.
    low, high: noise levels sigma / alpha = exp(-log_snr / 2). This is the sigma of that paper and of EDM, so
        the paper's intervals apply directly. 0 and infinity leave an end open.

    Raises ValueError unless 0 <= low < high, and for `DynamicThresholding`, which must wrap the interval.
    """

    def __init__(self, guidance: Guidance, low: float, high: float) -> None:
        if not 0 <= low < high:
            raise ValueError(f"a guidance interval needs 0 <= low < high, not {low} and {high}")
        if isinstance(guidance, DynamicThresholding):
            raise ValueError("dynamic thresholding is not a guidance by itself: put it around the interval")
        super().__init__(guidance.denoiser)
        self.guidance = guidance
        self.low, self.high = low, high

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The prediction, guided inside the interval; not clipped.

        Inside the interval it takes the network calls of the guidance, outside one of batch B. If the rows of
        a batch lie on both sides, it takes those of the guidance and one for the rows outside.
        """
        level = (self.schedule.log_snr(t) / -2).exp()
        outside = ~((self.low < level) & (level <= self.high)).to(x.device)
        if outside.all():
            return self.denoiser.predict(x, t, condition)
        guided = self.guidance.predict(x, t, condition)
        if not outside.any():
            return guided
        plain = self.denoiser.predict(x[outside], t[outside], condition[outside])
        rows = {name: part.clone() for name, part in guided._asdict().items() if part is not None}
        for name, part in rows.items():
            part[outside] = getattr(plain, name)
        return Prediction(**rows)

    def clip_prediction(self, prediction: Prediction, x: Tensor, t: Tensor) -> Prediction:
        """The prediction within the limits of the guidance, inside the interval and outside."""
        return self.guidance.clip_prediction(prediction, x, t)
