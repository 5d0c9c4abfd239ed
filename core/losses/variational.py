"""Variational bound on -log p(x0), and the losses made of its terms.

L_vlb = L_T + sum of L_t (Ho et al. 2020, equation 5). Timesteps count from 0 here: t = 0 is the paper's t =
1, whose term L_0 = -log p(x0 | x_1) is that of the decoder. Bits per dimension are nats divided by log 2 and
by the number of values in a sample.
"""

import math

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser, Prediction, reverse_log_variance
from core.diffusion.schedule import NoiseSchedule
from core.losses.simple import regression_target


def hybrid_loss(
    denoiser: Denoiser,
    x0: Tensor,
    t: Tensor,
    condition: Condition,
    noise: Tensor,
    *,
    simple_weight: Tensor | float = 1.0,
    vlb_weight: float = 1e-3,
    levels: int | None = 256,
    fixed: float = 0.0,
) -> Tensor:
    """Hybrid loss L_simple + lambda L_vlb (Nichol & Dhariwal 2021, equation 16), (B,).

    The predicted mean is detached inside L_vlb, so that L_vlb trains the variance alone. With a fixed
    variance L_vlb has no gradient. L_vlb is estimated as in `vlb_loss`: T times the term at t, in bits per
    dimension. The loss of improved-diffusion is the same: its factor T / 1000 is this T times the default
    lambda.

    simple_weight: weight of the simple loss, a number or (B,), such as `clipped_snr_weight(...)`.
    vlb_weight: lambda.

    The other arguments are those of `vlb_loss`.
    """
    xt = denoiser.schedule.add_noise(x0, noise, t)
    output, fraction = denoiser.raw_output(xt, t, condition)
    simple = (output - regression_target(denoiser, x0, noise, t)).square().flatten(1).mean(1)
    frozen = denoiser.to_prediction(output.detach(), fraction, xt, t)
    bits = reverse_step_bits(denoiser.schedule, frozen, x0, xt, t, levels, fixed)
    return simple_weight * simple + vlb_weight * denoiser.schedule.timesteps * bits


def vlb_loss(
    denoiser: Denoiser,
    x0: Tensor,
    t: Tensor,
    condition: Condition,
    noise: Tensor,
    *,
    levels: int | None = 256,
    fixed: float = 0.0,
) -> Tensor:
    """T times the term of the variational bound at t, (B,) bits per dimension.

    Its mean over uniform t is L_vlb - L_T. Differentiable in mean and variance; the prediction is not
    clipped.

    x0, noise: (B,...); t: (B,) integers; levels, fixed: those of `reverse_step_bits`.
    """
    xt = denoiser.schedule.add_noise(x0, noise, t)
    prediction = denoiser.predict(xt, t, condition)
    bits = reverse_step_bits(denoiser.schedule, prediction, x0, xt, t, levels, fixed)
    return denoiser.schedule.timesteps * bits


def reverse_step_bits(
    schedule: NoiseSchedule,
    prediction: Prediction,
    x0: Tensor,
    xt: Tensor,
    t: Tensor,
    levels: int | None = 256,
    fixed: float = 0.0,
) -> Tensor:
    """Term of the variational bound at each sample's t, (B,) bits per dimension.

    For t > 0 it is KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t)), for t = 0 it is -log2 p(x0 | x_t). p is
    Gaussian, and its mean is that of the posterior at the predicted x0.

    x0, xt: (B,...); t: (B,) integers.
    levels: number of levels of discrete data, evenly spaced over [-1, 1] (256 for pixels of 8 bits). L_0 then
        uses the probability of the level. None for continuous data such as latents: L_0 then uses the
        density.
    fixed: the variance fraction if the prediction has none, from 0 ("fixed small") to 1 ("fixed large").
    """
    mean, _, log_variance = schedule.posterior(x0, xt, t)
    predicted_mean = schedule.posterior(prediction.x0, xt, t)[0]
    fraction = fixed if prediction.variance_fraction is None else prediction.variance_fraction
    predicted_log_variance = reverse_log_variance(schedule, fraction, xt, t)
    kl = gaussian_kl(mean, log_variance, predicted_mean, predicted_log_variance)
    if levels is None:
        decoder = -gaussian_log_density(x0, predicted_mean, predicted_log_variance)
    else:
        decoder = -discretized_log_likelihood(x0, predicted_mean, predicted_log_variance, levels)
    is_decoder = (t == 0).reshape(-1, *[1] * (xt.ndim - 1))
    return bits_per_dim(torch.where(is_decoder, decoder, kl))


def prior_bits(schedule: NoiseSchedule, x0: Tensor) -> Tensor:
    """Prior term L_T = KL(q(x_T | x0) || p(x_T)) of the variational bound, (B,) bits per dimension.

    x0: (B,...). p(x_T) = N(0, alpha_T^2 + sigma_T^2), which is N(0, 1) for variance-preserving schedules. The
    term has no parameters, and is near 0 for a good schedule.
    """
    last = torch.full((len(x0),), schedule.timesteps - 1, device=x0.device)
    alpha, sigma = schedule.alpha(last, x0), schedule.sigma(last, x0)
    prior = (alpha.square() + sigma.square()).log()
    return bits_per_dim(gaussian_kl(alpha * x0, 2 * sigma.log(), torch.zeros_like(x0), prior))


def bits_per_dim(nats: Tensor) -> Tensor:
    """Bits per dimension (B,) of nats (B,...): the mean over the values of a sample, divided by log 2."""
    return nats.flatten(1).mean(1) / math.log(2)


def gaussian_kl(mean: Tensor, log_variance: Tensor, other: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL divergence KL(N(mean, variance) || N(other, other variance)) in nats, elementwise."""
    ratio = (log_variance - other_log_variance).exp()
    distance = (mean - other).square() * (-other_log_variance).exp()
    return 0.5 * (ratio - 1 + distance - (log_variance - other_log_variance))


def gaussian_log_density(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-density log N(x; mean, variance) in nats, elementwise."""
    distance = (x - mean).square() * (-log_variance).exp()
    return -0.5 * (math.log(2 * math.pi) + log_variance + distance)


def discretized_log_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor, levels: int = 256) -> Tensor:
    """Log-probability of discrete data under a Gaussian, in nats, elementwise (Ho et al. 2020, equation 13).

    x: `levels` possible values, evenly spaced over [-1, 1]. Each is the center of a bin. The outermost bins
        extend to infinity.
    """
    half = 1 / (levels - 1)
    scale = (-0.5 * log_variance).exp()
    lower, upper = (x - half - mean) * scale, (x + half - mean) * scale
    # log(cdf(upper) - cdf(lower)), evaluated in the left tail, where the difference does not lose precision.
    mirrored = lower > 0
    left = torch.special.log_ndtr(torch.where(mirrored, -upper, lower))
    right = torch.special.log_ndtr(torch.where(mirrored, -lower, upper))
    inner = right + torch.log(-torch.expm1(left - right))
    lowest, highest = torch.special.log_ndtr(upper), torch.special.log_ndtr(-lower)
    return torch.where(x < -1 + half, lowest, torch.where(x > 1 - half, highest, inner))
