"""Mean squared error of the network's output."""

from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser


def simple_loss(
    denoiser: Denoiser,
    x0: Tensor,
    t: Tensor,
    condition: Condition,
    noise: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the network's output against its target (L_simple, Ho et al. 2020, equation 14).

    weights: factors on the squared errors, which they broadcast to, see `core.losses.detail_weights`.
    The other arguments are those of `prediction_error`. Returns (B,): the mean over all axes but the batch.
    """
    squares = prediction_error(denoiser, x0, t, condition, noise).square()
    return (squares if weights is None else weights * squares).flatten(1).mean(1)


def prediction_error(
    denoiser: Denoiser, x0: Tensor, t: Tensor, condition: Condition, noise: Tensor
) -> Tensor:
    """Error of the network's output in the denoiser's own parameterization: output minus target, not clipped.

    x0, noise: (B,...); t: (B,) integers in [0, T). Returns a tensor shaped like x0.
    """
    output, _ = denoiser.raw_output(denoiser.schedule.add_noise(x0, noise, t), t, condition)
    return output - regression_target(denoiser, x0, noise, t)


def regression_target(denoiser: Denoiser, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Regression target of the network's output, given x0 and noise (B,...): the target at t (B,)."""
    schedule = denoiser.schedule
    return denoiser.parameterization.target(x0, noise, schedule.alpha(t, x0), schedule.sigma(t, x0))
