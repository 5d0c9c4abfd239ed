"""Simple and hybrid loss and the SNR weights, against closed forms."""

import pytest
import torch
from torch import nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.losses import clipped_snr_weight, detail_weights, hybrid_loss, min_snr_weight, simple_loss

PARAMETERIZATIONS = [Parameterization.EPS, Parameterization.X0, Parameterization.V]


class ZeroNetwork(nn.Module):
    """A network that returns its bias, which is 0."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x, t, condition):
        return torch.zeros_like(x) + self.bias


def batch(shape):
    """x0, noise, timesteps and an empty condition for a batch of two."""
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    empty = Condition(torch.zeros(2, 1, 1), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 10))
    return x0, noise, torch.tensor([50, 500]), empty


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 3, 5, 4, 4)])
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_simple_loss_is_the_mean_squared_error_of_each_sample(shape, parameterization):
    x0, noise, t, empty = batch(shape)
    schedule = NoiseSchedule.cosine()
    loss = simple_loss(Denoiser(ZeroNetwork(), schedule, parameterization), x0, t, empty, noise)
    for i in range(2):
        alpha, sigma = schedule.alpha(int(t[i])).item(), schedule.sigma(int(t[i])).item()
        target = {"eps": noise[i], "x0": x0[i], "v": alpha * noise[i] - sigma * x0[i]}[parameterization.value]
        assert loss[i].item() == pytest.approx((target**2).mean().item(), rel=1e-5)


def test_simple_loss_ignores_clipping_and_has_a_gradient():
    x0, noise, t, empty = batch((2, 3, 4, 4))
    losses = []
    for clip in (None, 0.01):
        denoiser = Denoiser(ZeroNetwork(), NoiseSchedule.cosine(), Parameterization.V, clip)
        loss = simple_loss(denoiser, x0, t, empty, noise)
        loss.mean().backward()
        losses.append((loss.detach(), denoiser.network.bias.grad))
    assert torch.equal(losses[0][0], losses[1][0])
    assert losses[0][1] == losses[1][1] != 0


def test_clipped_snr_weight_is_the_same_weight_on_x0_in_every_parameterization():
    schedule = NoiseSchedule.cosine()
    t = torch.tensor([5, 200, 500, 990])
    snr = (schedule.alpha(t) / schedule.sigma(t)).square()
    for parameterization in PARAMETERIZATIONS:
        denoiser = Denoiser(torch.nn.Identity(), schedule, parameterization)
        # An error d in x0 is an error alpha / sigma d in eps and d / sigma in v.
        x0_error_ratio = {"x0": 1.0, "eps": snr, "v": 1 / schedule.sigma(t).square()}[parameterization.value]
        x0_weight = clipped_snr_weight(denoiser, t, gamma=5.0) * x0_error_ratio
        torch.testing.assert_close(x0_weight.double(), (snr + 1).clamp(max=6.0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_min_snr_weight_is_that_of_the_paper(name):
    """Hang et al. 2023, section 3.4, for each parameterization, in alpha and sigma."""
    schedule = getattr(NoiseSchedule, name)()
    t = torch.arange(1000)
    snr = (schedule.alpha(t) / schedule.sigma(t)).square()
    least = torch.minimum(snr, torch.full_like(snr, 5.0))
    expected = {"x0": least, "eps": least / snr, "v": least / (snr + 1)}
    for kind, weight in expected.items():
        denoiser = Denoiser(torch.nn.Identity(), schedule, Parameterization(kind))
        ours = min_snr_weight(denoiser, t, gamma=5.0)
        torch.testing.assert_close(ours.double(), weight, rtol=1e-6, atol=0)


class Flow:
    """A parameterization by the velocity noise - x0."""

    def target(self, x0, eps, alpha, sigma):
        return eps - x0


def test_weights_are_derived_from_any_parameterization():
    """For x_t = (1 - s) x0 + s eps an error d in x0 is an error d / s in the velocity."""
    s = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    denoiser = Denoiser(torch.nn.Identity(), NoiseSchedule("line", 1 - s, s, {}), Parameterization.V)
    denoiser.parameterization = Flow()
    snr = ((1 - s) / s).square()
    for ours, x0_weight in (
        (min_snr_weight(denoiser, torch.arange(3), 5.0), snr.clamp(max=5.0)),
        (clipped_snr_weight(denoiser, torch.arange(3), 5.0), (snr + 1).clamp(max=6.0)),
    ):
        torch.testing.assert_close(ours.double(), x0_weight * s.square(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 3, 5, 4, 4)])
def test_hybrid_loss_with_weight_zero_is_the_simple_loss(shape):
    x0, noise, t, empty = batch(shape)
    denoiser = Denoiser(ZeroNetwork(), NoiseSchedule.cosine(), Parameterization.V)
    arguments = denoiser, x0.clamp(-1, 1), t, empty, noise
    torch.testing.assert_close(hybrid_loss(*arguments, vlb_weight=0.0), simple_loss(*arguments))
    # With a fixed variance L_vlb has no gradient: it changes the loss and not the gradient.
    gradients = []
    for weight in (0.0, 1.0):
        loss = hybrid_loss(*arguments, vlb_weight=weight).sum()
        gradients.append(torch.autograd.grad(loss, denoiser.network.bias)[0])
    assert torch.equal(*gradients) and gradients[0] != 0


def test_detail_weights_follow_the_step_of_a_known_map():
    x0 = torch.zeros(2, 4, 16, 16)
    x0[0, :, :, 8:] = 10.0  # a step: within two columns of it a mean over 5x5 positions differs by 2 or more
    weights = detail_weights(x0, 4.0)
    assert weights.shape == (2, 1, 16, 16)
    torch.testing.assert_close(weights[1], torch.ones(1, 16, 16))
    mean = (12 + 4 * 5) / 16
    torch.testing.assert_close(weights[0, 0, :, 6:10], torch.full((16, 4), 5 / mean))
    torch.testing.assert_close(weights[0, 0, :, :6], torch.full((16, 6), 1 / mean))
    torch.testing.assert_close(weights[0, 0, :, 10:], torch.full((16, 6), 1 / mean))
    torch.testing.assert_close(detail_weights(torch.randn(2, 4, 8, 8), 0.0), torch.ones(2, 1, 8, 8))


def test_simple_loss_multiplies_squares_by_the_weights():
    x0, noise, t, empty = batch((2, 3, 4, 4))
    denoiser = Denoiser(ZeroNetwork(), NoiseSchedule.cosine(), Parameterization.X0)
    weights = torch.rand((2, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    expected = (weights * x0.square()).sum(1, keepdim=True).flatten(1).mean(1) / 3
    torch.testing.assert_close(simple_loss(denoiser, x0, t, empty, noise, weights), expected)
