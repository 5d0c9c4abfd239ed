"""What a network's output means: pure conversions between eps, x0, v and flow."""

from enum import Enum

from torch import Tensor


class Parameterization(str, Enum):
    """What the network is trained to put out, given x_t = alpha x_0 + sigma eps.

    EPS: the noise (Ho et al. 2020). X0: the clean data.
    V: alpha eps - sigma x_0 (Salimans & Ho 2022, appendix D), for alpha^2 + sigma^2 = 1.
    FLOW: the velocity eps - x_0 of rectified flow (Liu et al. 2022), for alpha + sigma = 1.

    In every method the tensors are (B,...), alpha and sigma broadcastable to them. Where a quantity cannot be
    known, the division shows it: EPS says nothing of x_0 at alpha = 0, X0 nothing of eps at sigma = 0.
    """

    EPS = "eps"
    X0 = "x0"
    V = "v"
    FLOW = "flow"

    def to_x0(self, output: Tensor, xt: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The clean data that the output stands for."""
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
        """The noise that the output stands for."""
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
        """The output of a perfect network."""
        match self:
            case Parameterization.EPS:
                return eps
            case Parameterization.X0:
                return x0
            case Parameterization.V:
                return alpha * eps - sigma * x0
            case Parameterization.FLOW:
                return eps - x0
