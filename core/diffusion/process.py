"""The three families of diffusion processes, by the relation between signal scale and noise scale."""

from enum import Enum

import torch
from torch import Tensor


class Process(Enum):
    """Relation between alpha and sigma. With it, the SNR at a timestep determines both."""

    VARIANCE_PRESERVING = "variance preserving"  # alpha^2 + sigma^2 = 1: Ho et al. 2020, and most since
    VARIANCE_EXPLODING = "variance exploding"  # alpha = 1: Song et al. 2021, Karras et al. 2022
    RECTIFIED_FLOW = "rectified flow"  # alpha + sigma = 1: Liu et al. 2022, Lipman et al. 2022

    def scales(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at the log-SNR log(alpha^2 / sigma^2), which may be infinite."""
        match self:
            case Process.VARIANCE_PRESERVING:
                return log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
            case Process.VARIANCE_EXPLODING:
                return torch.ones_like(log_snr), (-log_snr / 2).exp()
            case Process.RECTIFIED_FLOW:
                return (log_snr / 2).sigmoid(), (-log_snr / 2).sigmoid()
