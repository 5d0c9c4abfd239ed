"""Trace of the probability flow, and dependence of the bits per dimension. Known data: tests/oracles."""

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
    """A small smooth network; every output depends on every input and on the condition."""

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
    """A denoiser of six values."""
    return Denoiser(Mixing(), SCHEDULE, Parameterization.V)


def condition_of(value, batch):
    """A condition with one token state, `value`."""
    tokens = torch.full((batch, 1, 1), value, dtype=torch.float64)
    mask = torch.ones(batch, 1, dtype=torch.bool)
    return Condition(tokens, mask, torch.zeros(batch, 10, dtype=torch.float64))


def data(batch):
    return torch.randn(batch, 1, 2, 3, generator=torch.Generator().manual_seed(1)).double()


def generators(seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def flow(model, x, seeds, value=0.3, **settings):
    settings = {"levels": None} | settings
    return flow_likelihood(model, x, condition_of(value, len(x)), generators=generators(seeds), **settings)


def test_the_integral_of_the_exact_trace_is_the_log_determinant_of_the_flow():
    """bits = -log2 (N(latent) |d latent / d x|), with the Jacobian by central differences of the flow."""
    model = Denoiser(Mixing(2), NoiseSchedule.cosine(400), Parameterization.V)
    x = data(1).flatten()[:2]
    step = 1e-5
    points = torch.stack([x, *(x + step * i for i in torch.eye(2)), *(x - step * i for i in torch.eye(2))])
    result = flow(model, points.view(5, 1, 1, 2), range(5), probes="exact")
    latent = result.latent.flatten(1)
    columns = (latent[1:3] - latent[3:]) / (2 * step)
    determinant = columns.det().abs().log().item()
    density = -0.5 * (2 * math.log(2 * math.pi) + latent[0].square().sum().item())
    expected = -(density + determinant) / (2 * math.log(2))
    assert result.bits_per_dim[0].item() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("probes", ["rademacher", "gaussian"])
def test_hutchinson_estimate_agrees_with_the_exact_trace(probes):
    """The mean of many estimates is within four standard errors."""
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
def test_bits_of_a_sample_depend_only_on_its_own_generator(levels):
    x = data(3).clamp(-1, 1)
    model = denoiser()

    def bound(x, seeds):
        condition = condition_of(0.3, len(x))
        return variational_bound(model, x, condition, generators=generators(seeds), levels=levels).total

    for bits in (bound, lambda x, seeds: flow(model, x, seeds, levels=levels).bits_per_dim):
        together = bits(x, [4, 5, 6])
        torch.testing.assert_close(together, bits(x, [4, 5, 6]), rtol=0, atol=0)
        torch.testing.assert_close(together[1:2], bits(x[1:2], [5]))
        assert not torch.isclose(together[1:2], bits(x[1:2], [7])).any()
    assert not any(p.grad is not None for p in model.parameters())


def test_likelihood_depends_on_condition_and_guidance():
    model, x = denoiser(), data(2)
    plain = flow(model, x, [0, 1]).bits_per_dim
    assert not torch.isclose(plain, flow(model, x, [0, 1], value=-1.0).bits_per_dim).any()
    unguided = ClassifierFreeGuidance(model, 1.0, condition_of(0.0, 1))
    torch.testing.assert_close(flow(unguided, x, [0, 1]).bits_per_dim, plain)
    negative = ClassifierFreeGuidance(model, 0.0, condition_of(-1.0, 1))
    torch.testing.assert_close(
        flow(negative, x, [0, 1]).bits_per_dim, flow(model, x, [0, 1], value=-1.0).bits_per_dim
    )


def test_dequantized_data_is_uniform_within_its_bins():
    x = torch.tensor([-1.0, 1 / 3]).double().view(2, 1, 1, 1).expand(2, 1, 100, 100)
    moved = dequantize(x, generators([0, 1]), levels=4) - x  # bins 2/3 wide
    assert moved.abs().max() <= 1 / 3
    counts = torch.histc(moved, bins=10, min=-1 / 3, max=1 / 3)
    assert counts.sum() == 20_000 and (counts - 2000).abs().max() < 5 * 2000**0.5
    assert not torch.equal(moved[0], moved[1])


def test_flow_likelihood_skips_a_timestep_without_signal():
    """The variable x / alpha of the flow would be infinite there."""
    alpha = torch.linspace(0.99, 0.0, 20, dtype=torch.float64)
    schedule = NoiseSchedule("zero", alpha, (1 - alpha**2).sqrt(), {})
    timesteps = []
    model = Denoiser(Mixing(), schedule, Parameterization.V)
    assert flow(model, data(1), [0], on_step=timesteps.append).bits_per_dim.isfinite().all()
    assert timesteps == list(range(19))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"steps": 1}, "between 2 and 20 steps, not 1"),
        ({"steps": 21}, "between 2 and 20 steps, not 21"),
        ({"probes": "sobol"}, "unknown probes 'sobol'"),
        ({"probe_count": 0}, "a probe_count below 1: 0"),
    ],
)
def test_invalid_settings_raise_value_error(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        flow(denoiser(), data(1), [0], **wrong)
