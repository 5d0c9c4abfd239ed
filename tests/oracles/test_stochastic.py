"""Stochastic samplers on data N(mu, s^2), whose exact result is known for a finite number of steps."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from core.diffusion.denoiser import Prediction
from core.diffusion.schedule import NoiseSchedule
from core.samplers import ddpm, heun, noise_like
from tests.oracles.known import Gaussian, empty_condition

MU, S = 0.7, 0.4
BATCH, SHAPE = 4, (1, 100, 100)
COUNT = BATCH * math.prod(SHAPE)


def generators(seed):
    return [torch.Generator().manual_seed(seed + i) for i in range(BATCH)]


def start(seed=1):
    return noise_like((BATCH, *SHAPE), generators(seed)).double()


def last(states):
    *_, state = states
    return state.x


def assert_distributed(x, mu, s):
    """Within five standard errors of a sample's mean and standard deviation."""
    assert abs(x.mean().item() - mu) < 5 * s / math.sqrt(COUNT)
    assert abs(x.std().item() / s - 1) < 5 / math.sqrt(2 * COUNT)


class LearnedVariance:
    """The optimal denoiser with the variance of p(x_s | x_t), Var = beta~ + (alpha_s beta / sigma_t^2)^2
    Var[x0 | x_t] (Bao et al. 2022, "Analytic-DPM", theorem 1), as a fraction between beta~ and beta."""

    def __init__(self, schedule, path):
        self.schedule, self.inner = schedule, Gaussian(schedule, s=S).denoiser()
        self.arrival = dict(pairwise(path))

    def __call__(self, x, t, condition):
        abar_t, abar_s = (self.schedule.alpha(i).item() ** 2 for i in (int(t[0]), self.arrival[int(t[0])]))
        beta = 1 - abar_t / abar_s
        small = max((1 - abar_s) / (1 - abar_t) * beta, 1e-20)
        left = S**2 * (1 - abar_t) / (abar_t * S**2 + 1 - abar_t)
        true = small + abar_s * beta**2 / (1 - abar_t) ** 2 * left
        fraction = (math.log(true) - math.log(small)) / (math.log(beta) - math.log(small))
        return Prediction(*self.inner(x, t, condition)[:2], torch.full_like(x, fraction))


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [4, 15])
def test_few_ancestral_steps_are_exact_with_the_optimal_variance(name, steps):
    """Only the last step, without noise, loses variance: std of E[x0 | x_t] is alpha s^2 / sqrt(V)."""
    schedule = getattr(NoiseSchedule, name)()
    path = [*schedule.sampling_timesteps(steps), -1]
    run = {"steps": steps, "generators": generators(50)}
    start_std = math.sqrt(schedule.alpha(999).item() ** 2 * S**2 + schedule.sigma(999).item() ** 2)
    x = schedule.alpha(999).item() * MU + start_std * start()
    states = list(
        ddpm(LearnedVariance(schedule, path), x, empty_condition(MU, BATCH), variance="learned", **run)
    )
    for state, s in zip(states[:-1], path[1:], strict=False):
        alpha, sigma = schedule.alpha(s).item(), schedule.sigma(s).item()
        assert_distributed(state.x, alpha * MU, math.sqrt(alpha**2 * S**2 + sigma**2))
    alpha, sigma = schedule.alpha(path[-2]).item(), schedule.sigma(path[-2]).item()
    assert_distributed(states[-1].x, MU, alpha * S**2 / math.sqrt(alpha**2 * S**2 + sigma**2))


CHURN = {"s_churn": 8.0, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 1.007}


def test_heun_with_churn_is_edms_algorithm_2():
    """Karras et al. 2022, algorithm 2 in NumPy, with the same noise and D(x; sigma) in closed form."""
    schedule = NoiseSchedule.karras()
    timesteps = schedule.sampling_timesteps(18, "karras")
    inverse = 1 / 7
    ramp = np.arange(18) / 17
    levels = (80.0**inverse + ramp * (0.002**inverse - 80.0**inverse)) ** 7
    levels = np.append(levels, 0.0)

    def slope(x, sigma):
        return (x - (MU + S**2 * (x - MU) / (S**2 + sigma**2))) / sigma

    sources = generators(50)
    x = 80.0 * start().numpy()
    for i in range(18):
        churned = 0.05 <= levels[i] <= 50.0
        gamma = min(8.0 / 18, math.sqrt(2) - 1) if churned else 0.0
        hat = levels[i] * (1 + gamma)
        if churned:
            drawn = noise_like((BATCH, *SHAPE), sources).double().numpy()
            x = x + math.sqrt(hat**2 - levels[i] ** 2) * 1.007 * drawn
        d = slope(x, hat)
        there = x + (levels[i + 1] - hat) * d
        if levels[i + 1] > 0:
            there = x + (levels[i + 1] - hat) * (d + slope(there, levels[i + 1])) / 2
        x = there

    denoiser = Gaussian(schedule, s=S).denoiser()
    ours = heun(
        denoiser,
        80.0 * start(),
        empty_condition(MU, BATCH),
        timesteps=timesteps,
        generators=generators(50),
        **CHURN,
    )
    np.testing.assert_allclose(last(ours).numpy(), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["linear", "cosine", "flow"])
def test_churn_is_the_same_on_every_schedule(name):
    """x / alpha depends on sigma / alpha alone, so it agrees with that of the variance-exploding schedule."""
    log_snr = torch.linspace(-5.0, 6.0, 13, dtype=torch.float64)
    ended = []
    for schedule in (NoiseSchedule.karras(), getattr(NoiseSchedule, name)()):
        *timesteps, end = schedule.t_of_log_snr(log_snr).tolist()
        x = schedule.alpha(timesteps[0]) * MU + schedule.sigma(timesteps[0]) * start()
        run = {"timesteps": timesteps, "end": end, "generators": generators(50), **CHURN}
        states = heun(Gaussian(schedule, s=S).denoiser(), x, empty_condition(MU, BATCH), **run)
        ended.append(last(states) / schedule.alpha(end))
    torch.testing.assert_close(*ended, rtol=1e-9, atol=1e-9)


def test_churn_does_not_change_the_distribution():
    schedule = NoiseSchedule.karras()
    run = {
        "timesteps": schedule.sampling_timesteps(150, "karras"),
        "s_churn": 15.0,
        "generators": generators(50),
    }
    x = last(heun(Gaussian(schedule, s=S).denoiser(), 80.0 * start(), empty_condition(MU, BATCH), **run))
    assert abs(torch.corrcoef(torch.stack([x.flatten(), start().flatten()]))[0, 1]) < 0.2
    assert abs(x.mean().item() - MU) < 0.02 * S
    assert abs(x.std().item() / S - 1) < 0.02
