"""Samplers, guidance and losses on data N(mu, s^2), against closed forms with the optimal denoiser."""

import math
from itertools import pairwise

import pytest
import torch

from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.guidance import ClassifierFreeGuidance, GradientGuidance
from core.losses import simple_loss
from core.samplers import ddim, ddpm, noise_like
from tests.oracles.known import Gaussian, empty_condition

PARAMETERIZATIONS = [Parameterization.EPS, Parameterization.X0, Parameterization.V]
MU, S = 0.7, 0.4
BATCH, SHAPE = 4, (1, 100, 100)
COUNT = BATCH * 100 * 100


def exact_moments(schedule, steps, eta, large=False):
    """Exact mean and standard deviation of the sampler's result for a finite number of steps.

    Every step is affine in x, so the distribution remains Gaussian. Written in abar as DDIM equation 12 has
    it; ancestral DDPM is its eta = 1.
    """
    path = [*schedule.sampling_timesteps(steps), -1]
    mean, variance = 0.0, 1.0
    for t, s in pairwise(path):
        abar_t, abar_s = (schedule.alpha(i).item() ** 2 for i in (t, s))
        slope = math.sqrt(1 - abar_t) / (abar_t * S**2 + 1 - abar_t)  # eps = slope (x - sqrt(abar_t) mu)
        beta = 1 - abar_t / abar_s
        noise = eta**2 * (1 - abar_s) / (1 - abar_t) * beta
        direction = math.sqrt(1 - abar_s - noise) - math.sqrt(abar_s * (1 - abar_t) / abar_t)
        a = math.sqrt(abar_s / abar_t) + direction * slope
        mean = a * mean - direction * slope * math.sqrt(abar_t) * MU
        variance = a**2 * variance + (beta * (s >= 0) if large else noise)
    return mean, math.sqrt(variance)


def optimal(schedule, parameterization=Parameterization.EPS):
    return Denoiser(Gaussian(schedule, parameterization, S), schedule, parameterization)


def mean_is(mu, batch=BATCH):
    return empty_condition(mu, batch)


def generators(seed):
    return [torch.Generator().manual_seed(seed + i) for i in range(BATCH)]


def start():
    return noise_like((BATCH, *SHAPE), generators(1)).double()


def last(states):
    *_, state = states
    assert torch.equal(state.x, state.x0)  # the last step arrives at the clean guess itself
    return state.x


def assert_distributed(x, mu, s):
    """Within five standard errors of a sample's mean and standard deviation."""
    assert abs(x.mean().item() - mu) < 5 * s / math.sqrt(COUNT)
    assert abs(x.std().item() / s - 1) < 5 / math.sqrt(2 * COUNT)


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_arrives_at_its_exact_moments(name, parameterization, eta):
    schedule = getattr(NoiseSchedule, name)()
    states = ddim(
        optimal(schedule, parameterization),
        start(),
        mean_is(MU),
        steps=20,
        eta=eta,
        generators=generators(50),
    )
    assert_distributed(last(states), *exact_moments(schedule, 20, eta))


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_ddpm_arrives_at_its_exact_moments(name, variance):
    schedule = getattr(NoiseSchedule, name)()
    states = ddpm(
        optimal(schedule), start(), mean_is(MU), steps=20, variance=variance, generators=generators(50)
    )
    assert_distributed(last(states), *exact_moments(schedule, 20, 1.0, large=variance == "fixed_large"))


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("sampler", [ddim, ddpm])
def test_many_steps_recover_the_data_distribution(name, sampler):
    schedule = getattr(NoiseSchedule, name)()
    x = last(sampler(optimal(schedule), start(), mean_is(MU), steps=500, generators=generators(50)))
    assert abs(x.mean().item() - MU) < 0.02 * S
    assert abs(x.std().item() / S - 1) < 0.03


def test_ddim_converges_to_the_probability_flow():
    """At eta 0 the exact flow maps noise z to mu + s z; the error decreases as 1/steps."""
    denoiser, z = optimal(NoiseSchedule.cosine()), start()
    errors = [
        (last(ddim(denoiser, z, mean_is(MU), steps=steps)) - (MU + S * z)).abs().mean().item()
        for steps in (25, 100, 400)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and errors[2] < 0.01


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0, 7.5])
def test_guidance_moves_the_mean_and_keeps_the_spread(scale):
    """With equal variances the guided score is that of N(mu_u + scale (mu_c - mu_u), s^2)."""
    uncond, cond = -0.2, 0.3
    guided = ClassifierFreeGuidance(optimal(NoiseSchedule.cosine()), scale, mean_is(uncond, batch=1))
    x = last(ddim(guided, start(), mean_is(cond), steps=200))
    mu = uncond + scale * (cond - uncond)
    assert abs(x.mean().item() - mu) < 0.05 * S
    assert abs(x.std().item() / S - 1) < 0.04


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("t", [0, 300, 900])
def test_loss_of_the_optimal_denoiser_is_the_posterior_variance(parameterization, t):
    """Var[x0 | x_t] = s^2 sigma^2 / (alpha^2 s^2 + sigma^2), rescaled to each target's units."""
    schedule = NoiseSchedule.cosine()
    alpha, sigma = schedule.alpha(t).item(), schedule.sigma(t).item()
    variance = S**2 * sigma**2 / (alpha**2 * S**2 + sigma**2)
    units = {"eps": (alpha / sigma) ** 2, "x0": 1.0, "v": 1 / sigma**2}[parameterization.value]
    x0 = MU + S * start()
    noise = noise_like(x0.shape, generators(90)).double()
    loss = simple_loss(optimal(schedule, parameterization), x0, torch.full((BATCH,), t), mean_is(MU), noise)
    assert loss.shape == (BATCH,)
    assert loss.mean().item() == pytest.approx(variance * units, rel=5 * math.sqrt(2 / COUNT))


@pytest.mark.parametrize("t", [0, 250, 700, 999])
def test_gradient_guidance_of_a_return_moves_the_mean_of_the_data(t):
    """N(mu, s^2) times exp(b x) is N(mu + b s^2, s^2); log E[exp(b x0) | x_t] is b E[x0 | x_t] + constant."""
    schedule, b = NoiseSchedule.cosine(), 1.5

    class Return:
        def __init__(self):
            self.schedule = schedule

        def __call__(self, x, t):
            alpha, sigma = schedule.alpha(t, x), schedule.sigma(t, x)
            return (b * alpha * S**2 / (alpha**2 * S**2 + sigma**2) * x).flatten(1).sum(1)

    x, times = start(), torch.full((BATCH,), t)
    guided = GradientGuidance(optimal(schedule), Return())(x, times, mean_is(MU))
    torch.testing.assert_close(guided, optimal(schedule)(x, times, mean_is(MU + b * S**2)))
