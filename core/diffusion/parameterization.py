"""Parameterizations of a network's output: conversions between eps, x0, v and flow."""

from enum import Enum

from torch import Tensor


class Parameterization(str, Enum):
    """The quantity that a network is trained to predict from x_t = alpha x_0 + sigma eps.

    EPS: the noise (Ho et al. 2020).
    X0: the clean data.
    V: alpha eps - sigma x_0 (Salimans & Ho 2022, appendix D), for alpha^2 + sigma^2 = 1.
    FLOW: the velocity eps - x_0 of rectified flow (Liu et al. 2022), for alpha + sigma = 1.

    In every method the tensors are (B,...), and alpha and sigma broadcast to them. A quantity that the output
    does not determine is a division by zero: x_0 from EPS at alpha = 0, eps from X0 at sigma = 0.
    """

    EPS = "eps"
    X0 = "x0"
    V = "v"
    FLOW = "flow"

    def to_x0(self, output: Tensor, xt: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The clean data that corresponds to the output."""
        match self:
            case Parameterization.EPS:
                return (xt - sigma * output) / alpha
            case Parameterization.X0:
                return output
            case Parameterization.V:
                return alpha * xt - sigma * output
            case Parameterization.FLOW:
                return xt - sigma * output

    def to_eps(self, output: Tensor, xt: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The noise that corresponds to the output."""
        match self:
            case Parameterization.EPS:
                return output
            case Parameterization.X0:
                return (xt - alpha * output) / sigma
            case Parameterization.V:
                return sigma * xt + alpha * output
            case Parameterization.FLOW:
                return xt + alpha * output

    def target(self, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The regression target of the network's output, given x0 and eps."""
        match self:
            case Parameterization.EPS:
                return eps
            case Parameterization.X0:
                return x0
            case Parameterization.V:
                return alpha * eps - sigma * x0
            case Parameterization.FLOW:
                return eps - x0
