"""The probability flow's trace, and what bits per dimension depend on; of known data, see tests/oracles."""

import math

import pytest
import torch
from torch import nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.guidance import ClassifierFreeGuidance
from core.likelihood import dequantize, flow_likelihood, variational_bound

SCHEDULE = NoiseSchedule.cosine(20)


class Mixing(nn.Module):
    """A small smooth network all of whose outputs depend on all inputs, and on the condition."""

    def __init__(self, values=6):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.last = (
            nn.Parameter(torch.randn(values, values, generator=generator).double() / 3) for _ in range(2)
        )

    def forward(self, x, t, condition):
        hidden = x.flatten(1) @ self.first + condition.tokens[:, 0, :1]
        return (hidden.tanh() @ self.last).view_as(x)


def denoiser():
    return Denoiser(Mixing(), SCHEDULE, Parameterization.V)


def said(value, batch):
    tokens = torch.full((batch, 1, 1), value, dtype=torch.float64)
    mask = torch.ones(batch, 1, dtype=torch.bool)
    return Condition(tokens, mask, torch.zeros(batch, 10, dtype=torch.float64))


def data(batch):
    return torch.randn(batch, 1, 2, 3, generator=torch.Generator().manual_seed(1)).double()


def generators(seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def flow(model, x, seeds, value=0.3, **settings):
    settings = {"levels": None} | settings
    return flow_likelihood(model, x, said(value, len(x)), generators=generators(seeds), **settings)


def test_exact_trace_is_the_logarithm_of_the_flows_determinant():
    """bits = -log2 (N(latent) |d latent / d x|), the Jacobian by differentiating through the whole flow."""
    model = Denoiser(Mixing(2), NoiseSchedule.cosine(400), Parameterization.V)
    x = data(1).flatten()[:2]
    step = 1e-5
    around = torch.stack([x, *(x + step * i for i in torch.eye(2)), *(x - step * i for i in torch.eye(2))])
    there = flow(model, around.view(5, 1, 1, 2), range(5), probes="exact")
    latent = there.latent.flatten(1)
    columns = (latent[1:3] - latent[3:]) / (2 * step)
    determinant = columns.det().abs().log().item()
    density = -0.5 * (2 * math.log(2 * math.pi) + latent[0].square().sum().item())
    expected = -(density + determinant) / (2 * math.log(2))
    assert there.bits_per_dim[0].item() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("probes", ["rademacher", "gaussian"])
def test_hutchinsons_estimate_agrees_with_the_exact_trace(probes):
    """Within four standard errors of many estimates."""
    x = data(1)
    exact = flow(denoiser(), x, [0], probes="exact").bits_per_dim.item()
    count = 400
    estimates = flow(denoiser(), x.expand(count, -1, -1, -1), range(count), probes=probes).bits_per_dim
    error = estimates.std().item() / count**0.5
    assert abs(estimates.mean().item() - exact) < 4 * error

    averaged = flow(denoiser(), x.expand(count, -1, -1, -1), range(count), probes=probes, probe_count=16)
    assert averaged.bits_per_dim.std().item() == pytest.approx(estimates.std().item() / 4, rel=0.2)
    assert abs(averaged.bits_per_dim.mean().item() - exact) < error


@pytest.mark.parametrize("levels", [None, 256])
def test_a_sample_depends_on_its_own_generator_alone(levels):
    x = data(3).clamp(-1, 1)
    model = denoiser()

    def bound(x, seeds):
        condition = said(0.3, len(x))
        return variational_bound(model, x, condition, generators=generators(seeds), levels=levels).total

    for bits in (bound, lambda x, seeds: flow(model, x, seeds, levels=levels).bits_per_dim):
        together = bits(x, [4, 5, 6])
        torch.testing.assert_close(together, bits(x, [4, 5, 6]), rtol=0, atol=0)
        torch.testing.assert_close(together[1:2], bits(x[1:2], [5]))
        assert not torch.isclose(together[1:2], bits(x[1:2], [7])).any()
    assert not any(p.grad is not None for p in model.parameters())


def test_the_condition_and_guidance_reach_the_likelihood():
    model, x = denoiser(), data(2)
    plain = flow(model, x, [0, 1]).bits_per_dim
    assert not torch.isclose(plain, flow(model, x, [0, 1], value=-1.0).bits_per_dim).any()
    unguided = ClassifierFreeGuidance(model, 1.0, said(0.0, 1))
    torch.testing.assert_close(flow(unguided, x, [0, 1]).bits_per_dim, plain)
    away = ClassifierFreeGuidance(model, 0.0, said(-1.0, 1))
    torch.testing.assert_close(
        flow(away, x, [0, 1]).bits_per_dim, flow(model, x, [0, 1], value=-1.0).bits_per_dim
    )


def test_dequantized_data_fills_its_bins_evenly():
    x = torch.tensor([-1.0, 1 / 3]).double().view(2, 1, 1, 1).expand(2, 1, 100, 100)
    moved = dequantize(x, generators([0, 1]), levels=4) - x  # bins 2/3 wide
    assert moved.abs().max() <= 1 / 3
    counts = torch.histc(moved, bins=10, min=-1 / 3, max=1 / 3)
    assert counts.sum() == 20_000 and (counts - 2000).abs().max() < 5 * 2000**0.5
    assert not torch.equal(moved[0], moved[1])


def test_a_timestep_without_signal_is_left_out():
    """Its data would lie at infinity in the flow's variable."""
    alpha = torch.linspace(0.99, 0.0, 20, dtype=torch.float64)
    schedule = NoiseSchedule("zero", alpha, (1 - alpha**2).sqrt(), {})
    seen = []
    model = Denoiser(Mixing(), schedule, Parameterization.V)
    assert flow(model, data(1), [0], on_step=seen.append).bits_per_dim.isfinite().all()
    assert seen == list(range(19))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"steps": 1}, "between 2 and 20 steps, not 1"),
        ({"steps": 21}, "between 2 and 20 steps, not 21"),
        ({"probes": "sobol"}, "unknown probes 'sobol'"),
        ({"probe_count": 0}, "a probe_count below 1: 0"),
    ],
)
def test_wrong_settings_are_said(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        flow(denoiser(), data(1), [0], **wrong)
