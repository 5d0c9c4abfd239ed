"""Guidance in a limited interval of noise levels."""

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.guidance.base import Guidance
from core.guidance.thresholding import DynamicThresholding


class GuidanceInterval(Guidance):
    """Guidance where low < sigma / alpha <= high, elsewhere what the guidance wraps, unguided.

    Kynkaanniemi et al. 2024, "Applying Guidance in a Limited Interval Improves Sample and Distribution
    Quality in Diffusion Models", section 3. At high noise guidance takes from the variety of the results, at
    low noise it changes little; outside the interval its network calls are saved.

    guidance: what acts inside the interval.
    low, high: noise levels sigma / alpha = exp(-log_snr / 2), the sigma of that paper and of EDM; the paper's
        intervals can be given as they are. 0 and infinity leave an end open.

    Raises ValueError unless 0 <= low < high; and for dynamic thresholding, which goes around the interval.
    """

    def __init__(self, guidance: Guidance, low: float, high: float) -> None:
        if not 0 <= low < high:
            raise ValueError(f"a guidance interval needs 0 <= low < high, not {low} and {high}")
        if isinstance(guidance, DynamicThresholding):
            raise ValueError("dynamic thresholding is no guidance of its own: put it around the interval")
        super().__init__(guidance.denoiser)
        self.guidance = guidance
        self.low, self.high = low, high

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The network calls of the guidance inside the interval, one of batch B outside.

        Where rows of one batch lie on both sides, those of the guidance and one of the rows outside.
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
        return self.guidance.clip_prediction(prediction, x, t)
