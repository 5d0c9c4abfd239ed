"""Training losses, (B,) per batch, and their weights over the timesteps and positions."""

from core.losses.contrastive import contrastive_loss
from core.losses.simple import prediction_error, simple_loss
from core.losses.variational import (
    bits_per_dim,
    discretized_log_likelihood,
    gaussian_kl,
    gaussian_log_density,
    hybrid_loss,
    prior_bits,
    reverse_step_bits,
    vlb_loss,
)
from core.losses.weights import clipped_snr_weight, detail_weights, min_snr_weight

__all__ = [
    "bits_per_dim",
    "clipped_snr_weight",
    "contrastive_loss",
    "detail_weights",
    "discretized_log_likelihood",
    "gaussian_kl",
    "gaussian_log_density",
    "hybrid_loss",
    "min_snr_weight",
    "prediction_error",
    "prior_bits",
    "reverse_step_bits",
    "simple_loss",
    "vlb_loss",
]
