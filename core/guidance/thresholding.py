"""Dynamic thresholding: a limit on x0 that depends on each sample."""

import math

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.diffusion.parameterization import Parameterization
from core.guidance.base import GuidableDenoiser, Guidance


class DynamicThresholding(Guidance):
    """Dynamic thresholding: x0 = clip(x0, -s, s) / s, s a percentile of |x0| over the sample, at least 1.

    Saharia et al. 2022 (Imagen), section 2.3. It is for models of pixels in [-1, 1], in place of the
    denoiser's clip. At large guidance scales a fixed limit saturates most of the image; this one moves
    saturated pixels inwards. It wraps a denoiser or a guidance and applies once, after all guidance, in both
    cases.

    percentile: p in (0, 1], the fraction of values that are within s.
    max_threshold: upper limit of s, at least 1 (1.5 in DeepFloyd IF). Larger values are clipped to it.

    Raises ValueError when an argument is out of range.
    """

    def __init__(
        self, denoiser: GuidableDenoiser, percentile: float = 0.995, max_threshold: float = math.inf
    ) -> None:
        if not 0 < percentile <= 1:
            raise ValueError(f"the percentile must be above 0 and at most 1, not {percentile}")
        if max_threshold < 1:
            raise ValueError(f"max_threshold must be at least 1, not {max_threshold}")
        super().__init__(denoiser)
        self.percentile = percentile
        self.highest = max_threshold

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The prediction of the wrapped denoiser, without any limit."""
        return self.denoiser.predict(x, t, condition)

    def clip_prediction(self, prediction: Prediction, x: Tensor, t: Tensor) -> Prediction:
        """The prediction with thresholded x0 and eps = (x - alpha x0) / sigma."""
        # Row by row: torch.quantile takes at most 2^24 values.
        quantiles = [row.abs().flatten().float().quantile(self.percentile) for row in prediction.x0]
        limit = torch.stack(quantiles).clamp(1, self.highest).to(x.dtype).view(-1, *[1] * (x.ndim - 1))
        x0 = prediction.x0.clamp(-limit, limit) / limit
        alpha, sigma = self.schedule.scales(t, x)
        return prediction._replace(x0=x0, eps=Parameterization.X0.to_eps(x0, x, alpha, sigma))
