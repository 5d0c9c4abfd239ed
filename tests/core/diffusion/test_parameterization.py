"""Conversions between parameterizations, and v and flow as velocities."""

import pytest
import torch

from core.diffusion.parameterization import Parameterization


@pytest.mark.parametrize("parameterization", list(Parameterization))
@pytest.mark.parametrize("angle", [0.01, 0.7, 1.56])
def test_a_perfect_output_gives_back_data_and_noise(parameterization, angle):
    """At alpha^2 + sigma^2 = 1, for flow at alpha + sigma = 1."""
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    eps = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    alpha, sigma = torch.tensor(angle).double().cos(), torch.tensor(angle).double().sin()
    if parameterization is Parameterization.FLOW:
        alpha, sigma = alpha**2, sigma**2
    xt = alpha * x0 + sigma * eps
    output = parameterization.target(x0, eps, alpha, sigma)
    torch.testing.assert_close(parameterization.to_x0(output, xt, alpha, sigma), x0)
    torch.testing.assert_close(parameterization.to_eps(output, xt, alpha, sigma), eps)


def test_v_is_the_velocity_along_the_circle():
    """v = d x_phi / d phi for x_phi = cos(phi) x0 + sin(phi) eps (Salimans & Ho 2022, appendix D)."""
    x0, eps = torch.tensor([0.3]).double(), torch.tensor([-1.2]).double()
    phi = torch.tensor([0.9], dtype=torch.float64, requires_grad=True)
    (velocity,) = torch.autograd.grad(phi.cos() * x0 + phi.sin() * eps, phi)
    v = Parameterization.V.target(x0, eps, phi.detach().cos(), phi.detach().sin())
    torch.testing.assert_close(v, velocity)


def test_flow_is_the_velocity_on_the_line():
    """d x_s / d s for x_s = (1 - s) x0 + s eps (Liu et al. 2022, equation 1)."""
    x0, eps = torch.tensor([0.3]).double(), torch.tensor([-1.2]).double()
    s = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    (velocity,) = torch.autograd.grad((1 - s) * x0 + s * eps, s)
    torch.testing.assert_close(Parameterization.FLOW.target(x0, eps, 1 - s, s), velocity)


def test_names_match_those_stored_in_checkpoints():
    assert [Parameterization(name) for name in ("eps", "x0", "v", "flow")] == list(Parameterization)
