"""The squared error of the network's output."""

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser


def simple_loss(denoiser: Denoiser, x0: Tensor, t: Tensor, condition: Condition, noise: Tensor) -> Tensor:
    """Mean squared error of the network's output against its target (L_simple, Ho et al. 2020, equation 14).

    Arguments as of `output_error`. Returns (B,): the mean over all but the batch dimension.
    """
    return prediction_error(denoiser, x0, t, condition, noise).square().flatten(1).mean(1)


def clip_loss(
    denoiser: Denoiser, x0: Tensor, t: Tensor, condition: Condition, noise: Tensor, motion_weight: float = 1.0
) -> Tensor:
    """`simple_loss` of clips (B,C,F,H,W), the squares of what changes from frame to frame counting more.

    An error is its mean over the frames and the deviations from that. Most of a clip stands still, so most of
    a plain loss is in the first part; the second, `motion_weight` times as heavy, is where motion is learned.
    Both together are a quadratic form like any other: the best prediction stays the same. Returns (B,).
    """
    error = prediction_error(denoiser, x0, t, condition, noise)
    still = error.mean(2, keepdim=True)
    squares = still.square().flatten(1).mean(1), (error - still).square().flatten(1).mean(1)
    return (squares[0] + motion_weight * squares[1]) * 2 / (1 + motion_weight)


def prediction_error(
    denoiser: Denoiser, x0: Tensor, t: Tensor, condition: Condition, noise: Tensor
) -> Tensor:
    """The network's output less its target, in the denoiser's own parameterization, before any clipping.

    x0, noise: (B,...); t: (B,) integers in [0, T). Returns a tensor like x0.
    """
    output, _ = denoiser.raw_output(denoiser.schedule.add_noise(x0, noise, t), t, condition)
    return output - regression_target(denoiser, x0, noise, t)


def regression_target(denoiser: Denoiser, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The output of a perfect network that had seen x0 and the noise."""
    schedule = denoiser.schedule
    return denoiser.parameterization.target(x0, noise, schedule.alpha(t, x0), schedule.sigma(t, x0))
