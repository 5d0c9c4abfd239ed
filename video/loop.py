"""Clips without a seam: frames in a circle instead of a row."""

from dataclasses import replace

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Prediction
from core.guidance.base import GuidableDenoiser, Guidance

GOLDEN = 0.6180339887  # shifts by this share of the clip fall evenly around the circle


class CircularFrames(Guidance):
    """Denoises clips whose last frame precedes the first.

    At every noise level the frames are shifted around the circle by another number, so that the network sees
    the seam in another place each time and its temporal layers smooth it (Bi et al. 2025, "Mobius: Text to
    Seamless Looping Video Generation via Latent Shift").
    """

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The prediction for x (B,C,F,H,W) at t (B,), one noise level for all clips."""
        frames = x.shape[2]
        shift = round(frames * (float(t[0]) * GOLDEN % 1)) % frames
        attributes = condition.attributes
        if attributes.ndim == 3:
            condition = replace(condition, attributes=attributes.roll(shift, dims=1))
        prediction = self.denoiser.predict(x.roll(shift, dims=2), t, condition)
        return Prediction(*(part if part is None else part.roll(-shift, dims=2) for part in prediction))


def in_a_circle(denoiser: GuidableDenoiser, noise: Tensor, t: float) -> tuple[GuidableDenoiser, Tensor]:
    """The sampling constraint of a loop, a `core.sampling.Constraint`."""
    return CircularFrames(denoiser), noise
