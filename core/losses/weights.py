"""Weights over the timesteps, by the signal-to-noise ratio alpha^2 / sigma^2."""

import torch
from torch import Tensor

from core.diffusion.denoiser import Denoiser


def min_snr_weight(denoiser: Denoiser, t: Tensor, gamma: float = 5.0) -> Tensor:
    """Weights (B,) that make `simple_loss` count min(SNR, gamma) times the squared error of x0.

    The min-SNR strategy (Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy",
    section 3.4): min(SNR, gamma) for networks that put out x0, over SNR for eps, over SNR + 1 for v.
    t: (B,) integers; gamma > 0.
    """
    snr = denoiser.schedule.log_snr(t).exp()
    return (snr.clamp(max=gamma) / _output_per_x0(denoiser, t)).float()


def clipped_snr_weight(denoiser: Denoiser, t: Tensor, gamma: float) -> Tensor:
    """Weights (B,) that make `simple_loss` count min(SNR + 1, gamma + 1) times the squared error of x0.

    The min-SNR strategy on the SNR + 1 weighting of v (Salimans and Ho 2022, section 4): little noise counts
    less, as there, but high noise, where the composition is decided, counts as much as it does in plain
    v-prediction. t: (B,) integers; gamma > 0.
    """
    snr = denoiser.schedule.log_snr(t).exp()
    return ((snr + 1).clamp(max=gamma + 1) / _output_per_x0(denoiser, t)).float()


def _output_per_x0(denoiser: Denoiser, t: Tensor) -> Tensor:
    """Squared error of the network's output over the squared error of x0 that it means, (B,) float64.

    x_t being what it is, an error of 1 in x0 goes with one of -alpha / sigma in eps.
    """
    alpha, sigma = denoiser.schedule.alpha(t), denoiser.schedule.sigma(t)
    return denoiser.parameterization.target(torch.ones_like(alpha), -alpha / sigma, alpha, sigma).square()
