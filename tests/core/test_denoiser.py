import pytest
import torch
from torch import nn

from core.condition import Condition
from core.denoiser import Denoiser
from core.errors import UserError
from core.parameterization import Parameterization
from core.schedule import NoiseSchedule

PARAMETERIZATIONS = [Parameterization.EPS, Parameterization.X0, Parameterization.V]


class Constant(nn.Module):
    def __init__(self, value, dtype=None):
        super().__init__()
        self.value, self.dtype = nn.Parameter(torch.tensor(value)), dtype

    def forward(self, x, t, condition):
        return (self.value * torch.ones_like(x)).to(self.dtype or x.dtype)


def nothing(batch):
    return Condition(torch.zeros(batch, 1, 1), torch.ones(batch, 1, dtype=torch.bool), torch.zeros(batch, 10))


def noisy(shape=(3, 2, 4, 4)):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("shape", [(3, 2, 4, 4), (3, 2, 5, 4, 4)])
def test_x0_and_eps_always_explain_x(parameterization, clip, shape):
    schedule, x, t = NoiseSchedule.cosine(), noisy(shape), torch.tensor([10, 400, 800])
    prediction = Denoiser(Constant(0.3), schedule, parameterization, clip)(x, t, nothing(3))
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
def test_so_do_they_on_other_processes_up_to_where_no_signal_is_left(schedule, parameterization, clip):
    x, t = noisy().double(), torch.tensor([0, 400, 999])
    prediction = Denoiser(Constant(0.3), schedule, parameterization, clip)(x, t, nothing(3))
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
def test_what_makes_no_sense_is_refused_in_one_sentence(schedule, parameterization, named):
    with pytest.raises(UserError, match=named) as caught:
        Denoiser(Constant(0.3), schedule, parameterization)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_clip_changes_only_what_exceeds_it():
    schedule, x, t = NoiseSchedule.cosine(), noisy(), torch.tensor([10, 400, 800])
    free = Denoiser(Constant(0.3), schedule, Parameterization.EPS)(x, t, nothing(3))
    clipped = Denoiser(Constant(0.3), schedule, Parameterization.EPS, clip=1.0)(x, t, nothing(3))
    inside = free.x0.abs() <= 1
    assert 0 < inside.sum() < inside.numel()
    torch.testing.assert_close(clipped.x0[inside], free.x0[inside])
    torch.testing.assert_close(clipped.eps[inside], free.eps[inside], rtol=1e-4, atol=1e-5)
    assert (clipped.x0[~inside].abs() == 1).all()


def test_a_lower_precision_network_keeps_the_samples_dtype():
    network = Constant(0.3, dtype=torch.bfloat16)
    prediction = Denoiser(network, NoiseSchedule.linear(), Parameterization.V)(
        noisy(), torch.tensor([0, 1, 2]), nothing(3)
    )
    assert prediction.x0.dtype == prediction.eps.dtype == torch.float32


def test_it_is_differentiable_in_x_and_holds_the_networks_weights():
    denoiser = Denoiser(Constant(0.3), NoiseSchedule.linear(), Parameterization.EPS)
    x = noisy().requires_grad_()
    t = torch.tensor([500, 500, 500])
    denoiser(x, t, nothing(3)).x0.sum().backward()
    expected = (1 / denoiser.schedule.alpha(500)).float()
    torch.testing.assert_close(x.grad, expected.expand(x.shape))
    assert list(denoiser.state_dict()) == ["network.value"]


def test_a_clip_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        Denoiser(Constant(0.3), NoiseSchedule.linear(), Parameterization.EPS, clip=0.0)
