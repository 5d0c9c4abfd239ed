"""Score distillation with the exact denoiser of data N(mu, s^2): gradients, and their fixed points."""

import math

import pytest
import torch
from torch import nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.guidance import ClassifierFreeGuidance
from dream3d.distill import CSD, ISM, SDS, SJC, VSD, X0Reconstruction, damped_variance, uniform, variance

MU, S, RENDER = 0.5, 0.3, -0.2
SHAPE = (4, 3, 32, 32)
COUNT = math.prod(SHAPE)
SCHEDULE = NoiseSchedule.cosine()


class Optimal(nn.Module):
    """The optimal network E[eps | x_t]; mu and s are the two values of each row's only token."""

    def forward(self, x, t, condition):
        alpha, sigma = SCHEDULE.alpha(t, x), SCHEDULE.sigma(t, x)
        mu, s = (value.view(-1, 1, 1, 1) for value in condition.tokens[:, 0].unbind(1))
        return sigma * (x - alpha * mu) / (alpha**2 * s**2 + sigma**2)


class At:
    """A timestep sampler that returns a constant."""

    def __init__(self, t):
        self.t = t

    def draw(self, count, progress, timesteps, generator):
        return torch.full((count,), self.t)


class Fitted:
    """The exact denoiser of N(mean, deviation^2), with the statistics of the last pixels it was fitted to."""

    schedule = SCHEDULE

    def __init__(self):
        self.mean, self.deviation = 0.0, 1.0

    def learn(self, x, condition, generator):
        self.mean, self.deviation = x.mean().item(), x.std().item()

    def __call__(self, x, t, condition):
        return DENOISER(x, t, data(self.mean, self.deviation))


def data(mu=MU, s=S, batch=SHAPE[0]):
    tokens = torch.tensor([[[mu, s]]], dtype=torch.float64).expand(batch, 1, 2)
    return Condition(
        tokens, torch.ones(batch, 1, dtype=torch.bool), torch.zeros(batch, 10, dtype=torch.float64)
    )


def guided(scale, mu=-0.1, s=S):
    return ClassifierFreeGuidance(DENOISER, scale, data(mu, s, batch=1))


def gradient(distillation, value=RENDER, seed=0):
    """The gradient with respect to renders of constant value."""
    renders = torch.full(SHAPE, value, dtype=torch.float64, requires_grad=True)
    distillation(renders, data(), 0.5, torch.Generator().manual_seed(seed)).loss.backward()
    return renders.grad


def descend(distillation, steps=100, rate=1.0):
    """Pixels after gradient descent with step sizes that decay as 1/step, so that noise averages out."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    for step in range(steps):
        x.requires_grad_(True)
        (slope,) = torch.autograd.grad(distillation(x, data(), step / steps, generator).loss, x)
        x = x.detach() - rate / (1 + 20 * step / steps) * slope
    return x


def levels(t):
    """alpha, sigma and the variance of x_t."""
    alpha, sigma = SCHEDULE.alpha(t).item(), SCHEDULE.sigma(t).item()
    return alpha, sigma, alpha**2 * S**2 + sigma**2


DENOISER = Denoiser(Optimal(), SCHEDULE, Parameterization.EPS)
WEIGHTS = {
    variance: lambda abar: 1 - abar,
    uniform: lambda abar: 1.0,
    damped_variance: lambda abar: math.sqrt(abar) * (1 - abar),
}


@pytest.mark.parametrize("t", [100, 500, 900])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_sds_gradient(t, weight):
    """w sigma alpha (x - mu) / V in the mean, w alpha^2 s^2 / V of deviation; V = alpha^2 s^2 + sigma^2."""
    alpha, sigma, total = levels(t)
    slope = gradient(SDS(DENOISER, At(t), weight=weight)) / WEIGHTS[weight](alpha**2)
    deviation = alpha**2 * S**2 / total
    mean = sigma * alpha * (RENDER - MU) / total
    assert abs(slope.mean().item() - mean) < 5 * deviation / math.sqrt(COUNT)
    assert abs(slope.std().item() / deviation - 1) < 5 / math.sqrt(2 * COUNT)


@pytest.mark.parametrize("t", [100, 500, 900])
def test_gradient_of_the_x0_form(t):
    """2 (x - E[x0 | x_t]) = 2 sigma^2 (x - mu) / V in the mean."""
    alpha, sigma, total = levels(t)
    slope = gradient(X0Reconstruction(DENOISER, At(t)))
    deviation = 2 * sigma / alpha * alpha**2 * S**2 / total
    assert abs(slope.mean().item() - 2 * sigma**2 * (RENDER - MU) / total) < 5 * deviation / math.sqrt(COUNT)


def test_multistep_targets_follow_the_probability_flow():
    """The exact flow maps x_t to mu + s (x_t - alpha mu) / sqrt(V)."""
    alpha, sigma, total = levels(600)
    condition, renders = data(), torch.full(SHAPE, RENDER, dtype=torch.float64)
    result = X0Reconstruction(DENOISER, At(600), steps=200)(
        renders, condition, 0.0, torch.Generator().manual_seed(0)
    )
    mean = MU + S * alpha * (RENDER - MU) / math.sqrt(total)
    assert abs(result.x0.mean().item() - mean) < 0.005
    assert result.x0.std().item() == pytest.approx(S * sigma / math.sqrt(total), rel=0.03)


def test_sjc_with_one_noise_sample_is_sds_and_more_samples_are_averaged():
    one = gradient(SJC(DENOISER, At(400)))
    torch.testing.assert_close(one, gradient(SDS(DENOISER, At(400), weight=uniform)))
    many = gradient(SJC(DENOISER, At(400), draws=16))
    assert many.std().item() == pytest.approx(one.std().item() / 4, rel=0.03)
    assert many.mean().item() == pytest.approx(one.mean().item(), rel=0.01)


@pytest.mark.parametrize("scale", [0.0, 3.0, 30.0])
def test_guided_sds_is_sds_plus_scaled_csd(scale):
    """eps^ - eps = (cond - eps) + omega (cond - uncond), DreamFusion's omega being scale - 1."""
    whole, plain = gradient(SDS(guided(scale), At(400))), gradient(SDS(DENOISER, At(400)))
    classifier = gradient(CSD(guided(scale), At(400)))
    torch.testing.assert_close(whole, plain + (scale - 1) * classifier)


@pytest.mark.parametrize("make", [SDS, SJC, X0Reconstruction])
def test_sds_and_its_variants_collapse_to_the_mode(make):
    x = descend(make(DENOISER, At(500)))
    assert x.mean().item() == pytest.approx(MU, abs=0.01)
    assert x.std().item() < 0.4 * S


def test_vsd_converges_to_the_standard_deviation_of_the_data():
    x = descend(VSD(DENOISER, Fitted(), At(500)), steps=150, rate=3.0)
    assert x.mean().item() == pytest.approx(MU, abs=0.01)
    assert x.std().item() == pytest.approx(S, rel=0.05)


def test_csd_converges_beyond_the_mode_away_from_the_negative():
    """The zero of (x - mu) / V - (x - mu') / V', where the negative N(mu', s'^2) is wider."""
    x = descend(CSD(guided(1.0, mu=0.2, s=1.0), At(500)), steps=200)
    alpha, sigma, total = levels(500)
    wide = alpha**2 + sigma**2
    expected = (MU * wide - 0.2 * total) / (wide - total)
    assert expected > MU + 0.05
    assert x.mean().item() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_ism_gradient(scale):
    """On the exact flow of N(mu', s^2) z = (x - mu') / s is constant and eps = sigma z / sqrt(V). Guidance
    adds -scale sigma alpha (mu - mu') / V."""
    ism = ISM(guided(scale, mu=-0.1), At(500), weight=uniform, interval=0.01, inversion_steps=245)
    slope = gradient(ism, value=0.9)
    assert slope.std() < 1e-12  # no noise anywhere
    (_, sigma_s, total_s), (alpha, sigma, total) = levels(490), levels(500)
    z = (0.9 - -0.1) / S
    flow = z * (sigma / math.sqrt(total) - sigma_s / math.sqrt(total_s))
    expected = flow - scale * sigma * alpha * (MU - -0.1) / total
    assert slope.mean().item() == pytest.approx(expected, rel=0.02, abs=0.05 * flow)


def test_ism_without_guidance_converges_to_the_mode():
    x = descend(ISM(guided(1.0, mu=MU), At(500), weight=uniform, interval=0.2), rate=2.0)
    assert x.mean().item() == pytest.approx(MU, abs=0.02)
    assert x.std().item() < 0.4 * S
