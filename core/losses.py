"""Training objectives."""

from torch import Tensor

from core.condition import Condition
from core.denoiser import Denoiser
from core.parameterization import Parameterization


def simple_loss(denoiser: Denoiser, x0: Tensor, t: Tensor, condition: Condition, noise: Tensor) -> Tensor:
    """Mean squared error of the network's output against its target (L_simple, Ho et al. 2020, equation 14).

    x0, noise: (B,...); t: (B,) integers in [0, T). Returns (B,) in the dtype of x0: the mean over all but the
    batch dimension, in the denoiser's own parameterization, before any clipping.
    """
    schedule = denoiser.schedule
    target = denoiser.parameterization.target(x0, noise, schedule.alpha(t, x0), schedule.sigma(t, x0))
    output = denoiser.network(schedule.add_noise(x0, noise, t), t, condition)
    return (output.to(x0.dtype) - target).square().flatten(1).mean(1)


def clipped_snr_weight(denoiser: Denoiser, t: Tensor, gamma: float) -> Tensor:
    """Weights (B,) that make `simple_loss` count min(SNR + 1, gamma + 1) times the squared error of x0.

    The min-SNR strategy (Hang et al. 2023, equation 8) on the SNR + 1 weighting of v (Salimans and Ho 2022,
    section 4): little noise counts less, as there, but high noise, where the composition is decided, counts
    as much as it does in plain v-prediction. t: (B,) integers; gamma > 0.
    """
    snr = denoiser.schedule.log_snr(t).exp()
    weight = (snr + 1).clamp(max=gamma + 1)
    own = {Parameterization.EPS: snr, Parameterization.X0: snr.new_ones(()), Parameterization.V: snr + 1}
    return (weight / own[denoiser.parameterization]).float()
