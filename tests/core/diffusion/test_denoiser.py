"""Consistency, clipping, learned variance and errors of denoisers, for images and clips."""

import pytest
import torch
from torch import nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser, reverse_log_variance
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError

PARAMETERIZATIONS = [Parameterization.EPS, Parameterization.X0, Parameterization.V]


class ConstantNetwork(nn.Module):
    """A network that returns one value, in a given dtype."""

    def __init__(self, value, dtype=None):
        super().__init__()
        self.value, self.dtype = nn.Parameter(torch.tensor(value)), dtype

    def forward(self, x, t, condition):
        return (self.value * torch.ones_like(x)).to(self.dtype or x.dtype)


def empty_condition(batch):
    return Condition(torch.zeros(batch, 1, 1), torch.ones(batch, 1, dtype=torch.bool), torch.zeros(batch, 10))


def noisy(shape=(3, 2, 4, 4)):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("shape", [(3, 2, 4, 4), (3, 2, 5, 4, 4)])
def test_x0_and_eps_are_consistent_with_x(parameterization, clip, shape):
    schedule, x, t = NoiseSchedule.cosine(), noisy(shape), torch.tensor([10, 400, 800])
    prediction = Denoiser(ConstantNetwork(0.3), schedule, parameterization, clip)(x, t, empty_condition(3))
    torch.testing.assert_close(schedule.add_noise(prediction.x0, prediction.eps, t), x)
    if clip:
        assert prediction.x0.abs().max() <= clip


@pytest.mark.parametrize(
    ("schedule", "parameterization"),
    [
        (NoiseSchedule.flow(shift=3.0), Parameterization.FLOW),
        (NoiseSchedule.flow(), Parameterization.X0),
        (NoiseSchedule.karras(), Parameterization.EPS),
        (NoiseSchedule.karras(), Parameterization.X0),
        (NoiseSchedule.scaled_linear().zero_terminal_snr(), Parameterization.V),
    ],
    ids=repr,
)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_x0_and_eps_are_consistent_on_other_processes_also_without_signal(schedule, parameterization, clip):
    x, t = noisy().double(), torch.tensor([0, 400, 999])
    prediction = Denoiser(ConstantNetwork(0.3), schedule, parameterization, clip)(x, t, empty_condition(3))
    assert prediction.x0.isfinite().all() and prediction.eps.isfinite().all()
    torch.testing.assert_close(schedule.add_noise(prediction.x0, prediction.eps, t), x)


@pytest.mark.parametrize(
    ("schedule", "parameterization", "named"),
    [
        (NoiseSchedule.flow(), "v", "variance preserving"),
        (NoiseSchedule.karras(), "v", "variance preserving"),
        (NoiseSchedule.cosine(), "flow", "rectified flow"),
        (NoiseSchedule.karras(), "flow", "rectified flow"),
        (NoiseSchedule.flow(), "eps", "no signal"),
        (NoiseSchedule.linear().zero_terminal_snr(), "eps", "no signal"),
    ],
)
def test_undefined_parameterizations_raise_user_error_in_one_sentence(schedule, parameterization, named):
    with pytest.raises(UserError, match=named) as caught:
        Denoiser(ConstantNetwork(0.3), schedule, parameterization)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_clip_changes_only_values_beyond_the_limit():
    schedule, x, t = NoiseSchedule.cosine(), noisy(), torch.tensor([10, 400, 800])
    free = Denoiser(ConstantNetwork(0.3), schedule, Parameterization.EPS)(x, t, empty_condition(3))
    clipped = Denoiser(ConstantNetwork(0.3), schedule, Parameterization.EPS, clip=1.0)(
        x, t, empty_condition(3)
    )
    inside = free.x0.abs() <= 1
    assert 0 < inside.sum() < inside.numel()
    torch.testing.assert_close(clipped.x0[inside], free.x0[inside])
    torch.testing.assert_close(clipped.eps[inside], free.eps[inside], rtol=1e-4, atol=1e-5)
    assert (clipped.x0[~inside].abs() == 1).all()


def test_prediction_has_the_dtype_of_x_for_a_network_of_lower_precision():
    network = ConstantNetwork(0.3, dtype=torch.bfloat16)
    prediction = Denoiser(network, NoiseSchedule.linear(), Parameterization.V)(
        noisy(), torch.tensor([0, 1, 2]), empty_condition(3)
    )
    assert prediction.x0.dtype == prediction.eps.dtype == torch.float32


def test_denoiser_is_differentiable_in_x_and_has_the_weights_of_the_network():
    denoiser = Denoiser(ConstantNetwork(0.3), NoiseSchedule.linear(), Parameterization.EPS)
    x = noisy().requires_grad_()
    t = torch.tensor([500, 500, 500])
    denoiser(x, t, empty_condition(3)).x0.sum().backward()
    expected = (1 / denoiser.schedule.alpha(500)).float()
    torch.testing.assert_close(x.grad, expected.expand(x.shape))
    assert list(denoiser.state_dict()) == ["network.value"]


def test_a_clip_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        Denoiser(ConstantNetwork(0.3), NoiseSchedule.linear(), Parameterization.EPS, clip=0.0)


class IdentityNetwork(nn.Module):
    """A network that returns x."""

    def forward(self, x, t, condition):
        return x


class TwoOutputs(nn.Module):
    """A network with x in the first half of its channels and a constant in the second."""

    def __init__(self, second):
        super().__init__()
        self.second = second

    def forward(self, x, t, condition):
        return torch.cat([x, torch.full_like(x, self.second)], dim=1)


@pytest.mark.parametrize("shape", [(3, 2, 4, 4), (3, 2, 5, 4, 4)])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_learned_variance_is_the_second_half_of_the_output(shape, clip):
    x, t, schedule = noisy(shape), torch.tensor([10, 400, 800]), NoiseSchedule.cosine()
    plain = Denoiser(IdentityNetwork(), schedule, Parameterization.V, clip)
    for second, fraction in ((-1.0, 0.0), (0.0, 0.5), (1.0, 1.0)):
        learned = Denoiser(TwoOutputs(second), schedule, Parameterization.V, clip, learned_variance=True)
        prediction = learned.with_network(learned.network)(x, t, empty_condition(3))
        assert torch.equal(prediction.x0, plain(x, t, empty_condition(3)).x0)
        assert torch.equal(prediction.eps, plain(x, t, empty_condition(3)).eps)
        assert torch.equal(prediction.variance_fraction, torch.full(shape, fraction))
    assert plain(x, t, empty_condition(3)).variance_fraction is None


@pytest.mark.parametrize("learned", [True, False])
def test_a_wrong_number_of_channels_raises_value_error(learned):
    network = ConstantNetwork(0.3) if learned else TwoOutputs(0.0)
    denoiser = Denoiser(network, NoiseSchedule.linear(), Parameterization.V, learned_variance=learned)
    expected, actual = (4, 2) if learned else (2, 4)
    with pytest.raises(ValueError, match=f"must return {expected} channels, not {actual}"):
        denoiser(noisy(), torch.tensor([0, 1, 2]), empty_condition(3))


@pytest.mark.parametrize("steps", [1, 7])
def test_learned_variance_goes_from_the_posteriors_to_beta(steps):
    """Nichol & Dhariwal 2021, equation 15, in betas; for a step over several timesteps, in its own betas."""
    schedule, x = NoiseSchedule.linear(), noisy().double()
    betas = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    abar = torch.cumprod(1 - betas, dim=0)
    t = torch.tensor([7, 400, 999])
    beta = 1 - abar[t] / abar[t - steps]
    small = beta * (1 - abar[t - steps]) / (1 - abar[t])
    for fraction in (0.0, 0.25, 1.0):
        expected = (fraction * beta.log() + (1 - fraction) * small.log()).view(3, 1, 1, 1)
        for v in (fraction, torch.full_like(x, fraction)):
            ours = reverse_log_variance(schedule, v, x, t, t - steps)
            torch.testing.assert_close(ours.expand_as(x), expected.expand_as(x), rtol=1e-9, atol=0)
    # The posterior's variance of the step to clean data is 0, and clipped to that of the step before.
    ends = [reverse_log_variance(schedule, v, x, torch.tensor([0, 0, 0]))[0].item() for v in (0.0, 1.0)]
    before = betas[1] * (1 - abar[0]) / (1 - abar[1])
    assert ends == pytest.approx([before.log().item(), betas[0].log().item()], rel=1e-9)
