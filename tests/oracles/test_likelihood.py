"""Bits per dimension of data with known density and optimal denoiser: a Gaussian, and a mixture of two."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.likelihood import flow_likelihood, variational_bound

STEPS = 150

# weights, means, deviations of independent values
GAUSSIAN = (1.0,), (0.7,), (1.0,)
MIXTURE = (0.3, 0.7), (-1.2, 1.0), (0.3, 0.5)


class Optimal(nn.Module):
    """The optimal network E[x0 | x_t] for independent values of a mixture of Gaussians."""

    def __init__(self, schedule, mixture):
        super().__init__()
        self.schedule = schedule
        self.weights, self.means, self.deviations = torch.tensor(mixture, dtype=torch.float64)

    def moments(self, x, t):
        """Mean and variance of x0 given x_t, a mixture of the components' posteriors."""
        x = x[..., None]
        alpha, sigma = self.schedule.alpha(t, x), self.schedule.sigma(t, x)
        total = alpha**2 * self.deviations**2 + sigma**2
        log_share = self.weights.log() - 0.5 * total.log() - (x - alpha * self.means) ** 2 / (2 * total)
        share = log_share.softmax(-1)
        mean = self.means + alpha * self.deviations**2 / total * (x - alpha * self.means)
        overall = (share * mean).sum(-1)
        variance = (share * (self.deviations**2 * sigma**2 / total + mean**2)).sum(-1) - overall**2
        return overall, variance

    def forward(self, x, t, condition):
        return self.moments(x, t)[0]


class WithVariance(Optimal):
    """Also the exact variance of the reverse step: the posterior's, plus that of its mean due to x0."""

    def forward(self, x, t, condition):
        x0, spread = self.moments(x, t)
        abar = self.schedule.alpha(torch.arange(-1, self.schedule.timesteps)) ** 2
        now, before = abar[t + 1].view(-1, 1, 1, 1), abar[t].view(-1, 1, 1, 1)
        beta = 1 - now / before
        small = beta * (1 - before) / (1 - now)
        variance = small + (before.sqrt() * beta / (1 - now)) ** 2 * spread
        clipped = (1 - abar[2] / abar[1]) * (1 - abar[1]) / (1 - abar[2])
        small = torch.where(t.view(-1, 1, 1, 1) == 0, clipped, small)
        fraction = (variance.log() - small.log()) / (beta.log() - small.log())
        return torch.cat([x0, 2 * fraction - 1], dim=1)


def density(x, mixture):
    return sum(w * norm.pdf(x, m, d) for w, m, d in zip(*mixture, strict=True))


def entropy(mixture):
    """Differential entropy in bits, by quadrature."""
    return quad(lambda x: -density(x, mixture) * np.log2(density(x, mixture)), -8, 8, points=[-1.2, 1.0])[0]


def cdf(x, mixture):
    return sum(w * norm.cdf(x, m, d) for w, m, d in zip(*mixture, strict=True))


def sample(mixture, shape=(2, 1, 30, 50)):
    """Samples with exact proportions: the shuffled quantiles."""
    grid, count = np.linspace(-8, 8, 400_001), math.prod(shape)
    x = np.interp((np.arange(count) + 0.5) / count, cdf(grid, mixture), grid)
    return torch.from_numpy(np.random.default_rng(0).permutation(x).reshape(shape))


def nothing():
    return Condition(torch.zeros(2, 1, 1), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 10))


def generators(seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(2)]


def true_bits(x, mixture):
    return -np.log2(density(x.numpy(), mixture)).reshape(2, -1).mean(1)


SIGMA = torch.linspace(0.01, 1, STEPS, dtype=torch.float64)
SCHEDULES = {
    "linear": NoiseSchedule.linear(),
    "cosine": NoiseSchedule.cosine(),
    "exploding": NoiseSchedule("exploding", torch.ones_like(SIGMA), 60 ** (2 * SIGMA - 1), {}),
    "straight": NoiseSchedule("straight", 1 - SIGMA, SIGMA, {}),  # to where no signal is left
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("mixture", [GAUSSIAN, MIXTURE])
def test_probability_flow(mixture, name):
    schedule, x, seen = SCHEDULES[name], sample(mixture), []
    denoiser = Denoiser(Optimal(schedule, mixture), schedule, Parameterization.X0)
    steps = STEPS if schedule.timesteps > STEPS else None
    flow = flow_likelihood(
        denoiser, x, nothing(), generators=generators(), levels=None, steps=steps, on_step=seen.append
    )
    assert seen == sorted(seen) and seen[0] == 0
    np.testing.assert_allclose(flow.bits_per_dim.numpy(), true_bits(x, mixture), rtol=1e-3)
    assert flow.bits_per_dim.mean().item() == pytest.approx(entropy(mixture), rel=3e-3)
    # In one dimension the flow keeps the order of the data: it carries quantiles to quantiles.
    quantile = norm.ppf(cdf(x.numpy(), mixture))
    carried = flow.latent.numpy() / schedule.sigma(seen[-1]).item()
    inner = np.abs(quantile) < 3
    np.testing.assert_allclose(carried[inner], quantile[inner], atol=0.03)


def even_log_snr(timesteps=100):
    """A schedule with equal steps in log-SNR: no term of the bound dominates, so estimates vary little."""
    log_snr = torch.linspace(5, -9, timesteps, dtype=torch.float64)
    return NoiseSchedule("even", log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt(), {})


def quantiles(shape, generators):
    """Noise with exact proportions too, with a tenth of the variation of the bound for random noise."""
    count = math.prod(shape[1:])
    values = torch.from_numpy(norm.ppf((np.arange(count) + 0.5) / count))
    return torch.stack([values[torch.randperm(count, generator=g)].view(*shape[1:]) for g in generators])


@pytest.mark.parametrize("mixture", [GAUSSIAN, MIXTURE])
def test_variational_bound_with_the_exact_variance(mixture, monkeypatch):
    """For Gaussian data the reverse steps are Gaussian and the bound equals the entropy; else nearly."""
    monkeypatch.setattr("core.likelihood.noise_like", quantiles)
    schedule, x = even_log_snr(), sample(mixture)
    denoiser = Denoiser(WithVariance(schedule, mixture), schedule, Parameterization.X0, learned_variance=True)
    bound = variational_bound(denoiser, x, nothing(), generators=generators(), levels=None)
    assert bound.total.mean().item() == pytest.approx(entropy(mixture), rel=0.01)
    assert 0 < bound.prior.max() < 1e-3  # SNR e^-9 at the end


@pytest.mark.parametrize("levels", [256, 32])
def test_discrete_data(levels):
    """Entropy in bits of the levels of N(0.1, 0.2^2), from its distribution function."""
    mixture, width = ((1.0,), (0.1,), (0.2,)), 2 / (levels - 1)
    x = ((sample(mixture, (2, 1, 50, 80)) + 1) / width).round() * width - 1
    probability = cdf(x.numpy() + width / 2, mixture) - cdf(x.numpy() - width / 2, mixture)
    expected = -np.log2(probability).reshape(2, -1).mean(1)
    schedule = even_log_snr()
    denoiser = Denoiser(WithVariance(schedule, mixture), schedule, Parameterization.X0, learned_variance=True)
    arguments = denoiser, x, nothing()
    bound = variational_bound(*arguments, generators=generators(), levels=levels)
    flow = flow_likelihood(*arguments, generators=generators(), levels=levels, steps=50)
    np.testing.assert_allclose(bound.total.numpy(), expected, rtol=0.01)
    np.testing.assert_allclose(flow.bits_per_dim.numpy(), expected, rtol=0.01)
