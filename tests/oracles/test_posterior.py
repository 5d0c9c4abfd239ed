"""The forward process and its posterior against NumPy and against Bayes' rule."""

import numpy as np
import pytest
import torch

from core.diffusion.schedule import NoiseSchedule


def numpy_betas(name, total):
    if name == "linear":
        return np.linspace(1e-4, 2e-2, total)
    f = np.cos((np.arange(total + 1) / total + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


def pair(seed, batch):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, 2, 3)), rng.normal(size=(batch, 2, 3))


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_every_timestep_against_ddpm_equations_6_and_7(name):
    total = 50
    betas = numpy_betas(name, total)
    abar = np.cumprod(1 - betas)
    before = np.append(1.0, abar[:-1])
    x0, xt = pair(0, total)
    shape = (-1, 1, 1)
    mean = (np.sqrt(before) * betas / (1 - abar)).reshape(shape) * x0 + (
        np.sqrt(1 - betas) * (1 - before) / (1 - abar)
    ).reshape(shape) * xt
    variance = (1 - before) / (1 - abar) * betas

    schedule = getattr(NoiseSchedule, name)(total)
    ours = schedule.posterior(torch.from_numpy(x0), torch.from_numpy(xt), torch.arange(total))
    np.testing.assert_allclose(ours[0].numpy(), mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours[1].numpy().ravel(), variance, rtol=1e-9, atol=1e-15)
    # Nichol & Dhariwal: the log-variance of the last step, which would be -inf, is that of the step before
    clipped = np.log(np.append(variance[1], variance[1:]))
    np.testing.assert_allclose(ours[2].numpy().ravel(), clipped, rtol=1e-9)
    t = torch.arange(total)
    np.testing.assert_allclose(schedule.step_beta(t, t - 1).numpy(), betas, rtol=1e-8)


@pytest.mark.parametrize(("t", "s"), [(49, 30), (30, 3), (10, 0), (20, -1)])
def test_any_two_timesteps_by_bayes_rule(t, s):
    """q(x_s | x_t, x_0) is q(x_t | x_s) q(x_s | x_0), two Gaussians in x_s: precisions add."""
    betas = numpy_betas("cosine", 50)
    signal = np.prod(1 - betas[s + 1 : t + 1])  # abar_t / abar_s
    abar_s = np.prod(1 - betas[: s + 1])
    x0, xt = pair(1, 1)
    if s < 0:
        mean, variance = x0, 0.0
    else:
        precision = signal / (1 - signal) + 1 / (1 - abar_s)
        mean = (np.sqrt(signal) * xt / (1 - signal) + np.sqrt(abar_s) * x0 / (1 - abar_s)) / precision
        variance = 1 / precision
    schedule = NoiseSchedule.cosine(50)
    clean, noisy = torch.from_numpy(x0), torch.from_numpy(xt)
    ours = schedule.posterior(clean, noisy, torch.tensor([t]), torch.tensor([s]))
    np.testing.assert_allclose(ours[0].numpy(), mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours[1].item(), variance, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_tables_are_accurate_at_both_ends(name):
    """1 - abar and abar from sums of logarithms, in long double."""
    betas = numpy_betas(name, 1000).astype(np.longdouble)
    log_abar = np.cumsum(np.log1p(-betas))
    schedule, t = getattr(NoiseSchedule, name)(), torch.arange(1000)
    np.testing.assert_allclose(schedule.sigma(t).numpy() ** 2, -np.expm1(log_abar).astype(float), rtol=1e-9)
    np.testing.assert_allclose(schedule.alpha(t).numpy() ** 2, np.exp(log_abar).astype(float), rtol=1e-9)
    log_snr = (log_abar - np.log(-np.expm1(log_abar))).astype(float)
    np.testing.assert_allclose(schedule.log_snr(t).numpy(), log_snr, rtol=1e-9, atol=1e-9)
