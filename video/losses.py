"""Training objectives of clips: (B,) losses of a batch."""

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.losses import prediction_error


def clip_loss(
    denoiser: Denoiser, x0: Tensor, t: Tensor, condition: Condition, noise: Tensor, motion_weight: float = 1.0
) -> Tensor:
    """Mean squared error of clips (B,C,F,H,W), with a weight on the part that changes between frames.

    The error is split into its mean over the frames and the deviations from that mean. Most of a clip is
    static, so the mean dominates `core.losses.simple_loss`. The deviations, which carry the motion, count
    `motion_weight` times as much. The sum of the two parts is a positive definite quadratic form in the
    error, so the optimal prediction is that of `simple_loss`; a weight of 1 is `simple_loss` itself.

    The other arguments are those of `core.losses.prediction_error`. Returns (B,).
    """
    error = prediction_error(denoiser, x0, t, condition, noise)
    static = error.mean(2, keepdim=True)
    squares = static.square().flatten(1).mean(1), (error - static).square().flatten(1).mean(1)
    return (squares[0] + motion_weight * squares[1]) * 2 / (1 + motion_weight)
