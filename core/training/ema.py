"""Moving average of the weights. It is exported because it samples better than the last weights."""

import copy

import torch
from torch import Tensor, nn


def exponent(width: float) -> float:
    """Exponent gamma of the power-function average with the relative standard deviation `width`.

    Karras et al. 2023 (EDM2), section 3.1: width^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)).
    width: in (0, 0.25]; 0.05 gives 16.97, 0.10 gives 6.94.
    """
    if not 0 < width <= 0.25:
        raise ValueError(f"the width of the average must be in (0, 0.25], not {width}")
    low, high = 0.0, 1 / width**2  # the width decreases in gamma
    for _ in range(100):
        gamma = (low + high) / 2
        too_wide = (gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)) > width**2
        low, high = (gamma, high) if too_wide else (low, gamma)
    return (low + high) / 2


class EMA:
    """Power-function average (EDM2, section 3.1): after step n, step i <= n has weight ~ i^gamma.

    Its width is a fixed fraction of the steps so far. It suits runs of any length and discards early weights.
    """

    def __init__(self, network: nn.Module, width: float) -> None:
        """width: the average's relative standard deviation, in (0, 0.25]."""
        self.gamma = exponent(width)
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Updates the average with the weights after `step`, counted from 1.

        average += (1 - beta) (weights - average), beta = (1 - 1/step)^(gamma + 1).
        """
        weight = 1 - (1 - 1 / step) ** (self.gamma + 1)
        averages: list[Tensor] = [*self.network.parameters()]
        weights: list[Tensor] = [*network.parameters()]
        torch._foreach_lerp_(averages, weights, weight)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        for average, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            average.copy_(buffer)
