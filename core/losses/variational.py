"""The variational bound on -log p(x0) and what is trained with it.

L_vlb = L_T + sum of L_t (Ho et al. 2020, equation 5). Our timesteps count from 0: t = 0 is the paper's t = 1,
whose term L_0 = -log p(x0 | x_1) is that of the decoder. Bits per dimension are nats over log 2 and over the
number of values in a sample.
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
    """L_simple + lambda L_vlb (Nichol & Dhariwal 2021, equation 16), (B,).

    The predicted mean is detached inside L_vlb, which so teaches the variance alone; with a fixed variance it
    has no gradient. L_vlb is estimated as in `vlb_loss`, T times the term at t in bits per dimension. That is
    improved-diffusion's loss as well: its factor of T / 1000 is this T and the default lambda.

    simple_weight: of the simple loss, say `clipped_snr_weight(...)`; vlb_weight: lambda. The other arguments
    are those of `vlb_loss`.
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
    """T times the bound's term at t, (B,): its mean over uniform t is L_vlb less L_T, in bits per dimension.

    Differentiable in mean and variance; the prediction is not clipped. x0, noise: (B,...); t: (B,) integers;
    levels and fixed: as of `reverse_step_bits`.
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
    """The term of the bound at each sample's t, (B,) bits per dimension.

    For t > 0 KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t)), for t = 0 -log2 p(x0 | x_t); p is Gaussian, with
    the posterior's mean at the predicted x0.

    levels: of discrete data, evenly spaced over [-1, 1], 256 for pixels of 8 bits: L_0 is then of the level's
        probability. None for continuous data, such as latents: L_0 is then of a density.
    fixed: the variance fraction where the prediction has none: 0 ("fixed small") to 1 ("fixed large").
    """
    mean, _, log_variance = schedule.posterior(x0, xt, t)
    predicted = schedule.posterior(prediction.x0, xt, t)[0]
    fraction = fixed if prediction.variance_fraction is None else prediction.variance_fraction
    spread = reverse_log_variance(schedule, fraction, xt, t)
    kl = gaussian_kl(mean, log_variance, predicted, spread)
    if levels is None:
        decoder = -gaussian_log_density(x0, predicted, spread)
    else:
        decoder = -discretized_log_likelihood(x0, predicted, spread, levels)
    last = (t == 0).reshape(-1, *[1] * (xt.ndim - 1))
    return bits_per_dim(torch.where(last, decoder, kl))


def prior_bits(schedule: NoiseSchedule, x0: Tensor) -> Tensor:
    """L_T = KL(q(x_T | x0) || p(x_T)), (B,) bits per dimension. Not trained; near 0 for a good schedule.

    p(x_T) = N(0, alpha_T^2 + sigma_T^2), which is N(0, 1) where variance is preserved.
    """
    last = torch.full((len(x0),), schedule.timesteps - 1, device=x0.device)
    alpha, sigma = schedule.alpha(last, x0), schedule.sigma(last, x0)
    prior = (alpha.square() + sigma.square()).log()
    return bits_per_dim(gaussian_kl(alpha * x0, 2 * sigma.log(), torch.zeros_like(x0), prior))


def bits_per_dim(nats: Tensor) -> Tensor:
    """(B,...) nats of every value -> (B,) bits, the mean over the values of a sample."""
    return nats.flatten(1).mean(1) / math.log(2)


def gaussian_kl(mean: Tensor, log_variance: Tensor, other: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(other, other variance)) in nats, value by value."""
    ratio = (log_variance - other_log_variance).exp()
    distance = (mean - other).square() * (-other_log_variance).exp()
    return 0.5 * (ratio - 1 + distance - (log_variance - other_log_variance))


def gaussian_log_density(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log N(x; mean, variance) in nats, value by value."""
    distance = (x - mean).square() * (-log_variance).exp()
    return -0.5 * (math.log(2 * math.pi) + log_variance + distance)


def discretized_log_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor, levels: int = 256) -> Tensor:
    """log probability in nats, value by value, of the levels x of a Gaussian (Ho et al. 2020, equation 13).

    x: on one of `levels` values evenly spaced over [-1, 1], each the middle of its bin; the outermost bins
    reach to infinity.
    """
    half = 1 / (levels - 1)
    scale = (-0.5 * log_variance).exp()
    lower, upper = (x - half - mean) * scale, (x + half - mean) * scale
    # log(cdf(upper) - cdf(lower)), in the left tail, where the difference of small numbers keeps its digits.
    mirrored = lower > 0
    left = torch.special.log_ndtr(torch.where(mirrored, -upper, lower))
    right = torch.special.log_ndtr(torch.where(mirrored, -lower, upper))
    inner = right + torch.log(-torch.expm1(left - right))
    lowest, highest = torch.special.log_ndtr(upper), torch.special.log_ndtr(-lower)
    return torch.where(x < -1 + half, lowest, torch.where(x > 1 - half, highest, inner))
