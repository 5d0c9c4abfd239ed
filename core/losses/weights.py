"""Loss weights: over the timesteps, as functions of the signal-to-noise ratio, and over the positions.

SNR = alpha^2 / sigma^2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from core.diffusion.denoiser import Denoiser


def min_snr_weight(denoiser: Denoiser, t: Tensor, gamma: float = 5.0) -> Tensor:
    """Min-SNR weights (B,): weighted, `simple_loss` is min(SNR, gamma) times the squared error of x0.

    Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy", section 3.4. The weight
    is min(SNR, gamma) for networks that predict x0, divided by SNR for eps, and divided by SNR + 1 for v.

    t: (B,) integers; gamma > 0.
    """
    snr = denoiser.schedule.log_snr(t).exp()
    return (snr.clamp(max=gamma) / _output_per_x0(denoiser, t)).float()


def clipped_snr_weight(denoiser: Denoiser, t: Tensor, gamma: float) -> Tensor:
    """Clipped SNR + 1 weights (B,): weighted, `simple_loss` is min(SNR + 1, gamma + 1) times the error of x0.

    This is the min-SNR strategy applied to the SNR + 1 weighting of v-prediction (Salimans and Ho 2022,
    section 4). Low noise has less weight, as with min-SNR. High noise, which determines the composition, has
    the weight of plain v-prediction.

    t: (B,) integers; gamma > 0.
    """
    snr = denoiser.schedule.log_snr(t).exp()
    return ((snr + 1).clamp(max=gamma + 1) / _output_per_x0(denoiser, t)).float()


def detail_weights(x0: Tensor, weight: float) -> Tensor:
    """Weights of the positions of x0 (B,C,H,W), (B,1,H,W) with a mean of 1 in each sample.

    They are proportional to 1 where x0 is flat, and to 1 + weight where it differs by 1 or more from its mean
    over 5x5 positions (root mean square over the channels). In latents of unit variance these positions are
    the figures: a face is a handful of positions, a backdrop is hundreds. weight >= 0; 0 gives ones.

    The weights depend on x0, so the optimal prediction changes: it is the mean of all x0 that fit, weighted
    by them. It leans towards detail where the noise leaves both a figure and a backdrop possible.
    """
    mean = F.avg_pool2d(x0, 5, stride=1, padding=2, count_include_pad=False)
    detail = (x0 - mean).square().mean(dim=1, keepdim=True).sqrt().clamp(max=1)
    weights = 1 + weight * detail
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True)


def _output_per_x0(denoiser: Denoiser, t: Tensor) -> Tensor:
    """Ratio of the squared error of the network's output to that of x0, (B,) float64.

    At fixed x_t an error of 1 in x0 corresponds to an error of -alpha / sigma in eps.
    """
    alpha, sigma = denoiser.schedule.alpha(t), denoiser.schedule.sigma(t)
    return denoiser.parameterization.target(torch.ones_like(alpha), -alpha / sigma, alpha, sigma).square()
