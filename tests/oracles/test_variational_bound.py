"""The terms of the variational bound and the hybrid loss, against the papers' formulas in NumPy.

Written from Ho et al. 2020 (equations 5-14) and Nichol & Dhariwal 2021 (equations 15-16), in betas and abar.
"""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser, Prediction
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.likelihood import variational_bound
from core.losses import discretized_log_likelihood, hybrid_loss, prior_bits, reverse_step_bits, vlb_loss
from core.samplers import noise_like

T = 20
SHAPE = (T, 3, 2, 2)  # a sample at every timestep
BETAS = np.linspace(1e-4, 0.3, T)
ABAR = np.cumprod(1 - BETAS)
BEFORE = np.append(1.0, ABAR[:-1])
SMALL = BETAS * (1 - BEFORE) / (1 - ABAR)
SMALL[0] = SMALL[1]  # as Nichol & Dhariwal clip it


def wide(table, t=slice(None)):
    return table[t].reshape(-1, 1, 1, 1)


def posterior_mean(x0, xt, t):
    weight_0 = np.sqrt(BEFORE) * BETAS / (1 - ABAR)
    weight_t = np.sqrt(1 - BETAS) * (1 - BEFORE) / (1 - ABAR)
    return wide(weight_0, t) * x0 + wide(weight_t, t) * xt


def numpy_term(x0, xt, predicted, v, t, levels):
    """L_t in bits per dimension, sample by sample."""
    mean, predicted_mean = posterior_mean(x0, xt, t), posterior_mean(predicted, xt, t)
    log_variance = v * np.log(wide(BETAS, t)) + (1 - v) * np.log(wide(SMALL, t))
    deviation = np.exp(log_variance / 2)
    kl = (
        np.log(deviation / np.sqrt(wide(SMALL, t)))
        + (wide(SMALL, t) + (mean - predicted_mean) ** 2) / (2 * deviation**2)
        - 0.5
    )
    if levels:
        above = np.where(x0 > 0.999, np.inf, x0 + 1 / (levels - 1))
        below = np.where(x0 < -0.999, -np.inf, x0 - 1 / (levels - 1))
        probability = norm.cdf(above, predicted_mean, deviation) - norm.cdf(below, predicted_mean, deviation)
        with np.errstate(divide="ignore"):  # where t > 0, and it does not count
            decoder = -np.log(probability)
    else:
        decoder = -norm.logpdf(x0, predicted_mean, deviation)
    nats = np.where(np.reshape(t, (-1, 1, 1, 1)) == 0, decoder, kl)
    return nats.mean(axis=(1, 2, 3)) / np.log(2)


class Fixed(nn.Module):
    """A network that returns a fixed output."""

    def __init__(self, output):
        super().__init__()
        self.output = nn.Parameter(torch.from_numpy(output))

    def forward(self, x, t, condition):
        return self.output


def schedule():
    return NoiseSchedule.linear(T, 1e-4, 0.3)


def nothing(batch=T):
    return Condition(torch.zeros(batch, 1, 1), torch.ones(batch, 1, dtype=torch.bool), torch.zeros(batch, 10))


def problem(learned, seed=0):
    """8-bit data that includes both ends of the range, noise, and a network's output in eps."""
    rng = np.random.default_rng(seed)
    x0 = rng.integers(256, size=SHAPE) / 127.5 - 1
    x0[0, 0] = [[-1, 1], [1, -1]]
    noise = rng.normal(size=SHAPE)
    output = noise + 0.3 * rng.normal(size=SHAPE)
    if learned:
        output = np.concatenate([output, rng.uniform(-1, 1, size=SHAPE)], axis=1)
    return x0, noise, output


def interpreted(x0, noise, output, learned, fixed, t):
    """x_t, the predicted x0 and the variance fraction for an output in eps."""
    xt = np.sqrt(wide(ABAR, t)) * x0 + np.sqrt(1 - wide(ABAR, t)) * noise
    eps = output[:, :3]
    v = (output[:, 3:] + 1) / 2 if learned else fixed
    return xt, (xt - np.sqrt(1 - wide(ABAR, t)) * eps) / np.sqrt(wide(ABAR, t)), v


@pytest.mark.parametrize("levels", [256, None])
@pytest.mark.parametrize(("learned", "fixed"), [(True, 0.5), (False, 0.0), (False, 1.0)])
def test_vlb_at_every_timestep(learned, fixed, levels):
    x0, noise, output = problem(learned)
    t = np.arange(T)
    xt, predicted, v = interpreted(x0, noise, output, learned, fixed, t)
    expected = numpy_term(x0, xt, predicted, v, t, levels)

    denoiser = Denoiser(Fixed(output), schedule(), Parameterization.EPS, learned_variance=learned)
    given = torch.from_numpy(x0), torch.from_numpy(t), nothing(), torch.from_numpy(noise)
    ours = vlb_loss(denoiser, *given, levels=levels, fixed=fixed)
    np.testing.assert_allclose(ours.detach().numpy(), T * expected, rtol=1e-7)


def test_prior_is_the_kl_of_the_last_timestep():
    x0 = problem(False)[0]
    mean, variance = np.sqrt(ABAR[-1]) * x0, 1 - ABAR[-1]
    nats = 0.5 * (variance + mean**2 - 1 - np.log(variance))
    ours = prior_bits(schedule(), torch.from_numpy(x0))
    np.testing.assert_allclose(ours.numpy(), nats.mean(axis=(1, 2, 3)) / np.log(2), rtol=1e-7)


@pytest.mark.parametrize("learned", [True, False])
def test_hybrid_loss_and_its_gradients(learned):
    """The mean's half of the output has the gradient of L_simple only, the variance's half that of L_vlb."""
    x0, noise, output = problem(learned)
    t = np.arange(T)
    weight = np.linspace(0.5, 2, T)

    def vlb(output):
        xt, predicted, v = interpreted(x0, noise, output, learned, 0.0, t)
        return T * numpy_term(x0, xt, predicted, v, t, 256)

    simple = ((output[:, :3] - noise) ** 2).mean(axis=(1, 2, 3))
    expected = weight * simple + 0.001 * vlb(output)

    network = Fixed(output)
    denoiser = Denoiser(network, schedule(), Parameterization.EPS, learned_variance=learned)
    given = torch.from_numpy(x0), torch.from_numpy(t), nothing(), torch.from_numpy(noise)
    loss = hybrid_loss(denoiser, *given, simple_weight=torch.from_numpy(weight))
    np.testing.assert_allclose(loss.detach().numpy(), expected, rtol=1e-8)

    loss.sum().backward()
    gradient = network.output.grad.numpy()
    of_simple = wide(weight) * 2 * (output[:, :3] - noise) / noise[0].size
    np.testing.assert_allclose(gradient[:, :3], of_simple, rtol=1e-10)
    if learned:
        for place in np.ndindex(3, 2, 2):
            change = np.zeros_like(output)
            change[(slice(None), 3 + place[0], *place[1:])] = 1e-5
            slope = 0.001 * (vlb(output + change) - vlb(output - change)) / 2e-5
            ours = gradient[(slice(None), 3 + place[0], *place[1:])]
            np.testing.assert_allclose(ours, slope, rtol=1e-5, atol=1e-10)


def test_vlb_has_a_gradient_for_the_mean_too():
    x0, noise, output = problem(learned=True)
    network = Fixed(output)
    denoiser = Denoiser(network, schedule(), Parameterization.EPS, learned_variance=True)
    t = torch.arange(T)
    vlb_loss(denoiser, torch.from_numpy(x0), t, nothing(), torch.from_numpy(noise)).sum().backward()

    def vlb(output):
        xt, predicted, v = interpreted(x0, noise, output, True, 0.0, t.numpy())
        return T * numpy_term(x0, xt, predicted, v, t.numpy(), 256)

    change = np.zeros_like(output)
    change[:, 1, 0, 1] = 1e-5
    slope = (vlb(output + change) - vlb(output - change)) / 2e-5
    np.testing.assert_allclose(network.output.grad[:, 1, 0, 1].numpy(), slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("learned", [True, False])
def test_the_whole_bound_is_the_sum_of_its_terms(learned):
    """Two samples at all timesteps from T-1 to 0, with the successive noise of their generators."""

    class Guess(nn.Module):
        def forward(self, x, t, condition):
            guess = 0.9 * x + 0.01 * t.view(-1, 1, 1, 1)
            return torch.cat([guess, torch.sin(3 * x)], dim=1) if learned else guess

    # near 0, where the guess is so good that NumPy does not underflow
    x0 = np.random.default_rng(1).integers(120, 135, size=(2, *SHAPE[1:])) / 127.5 - 1
    denoiser = Denoiser(Guess(), schedule(), Parameterization.X0, clip=0.8, learned_variance=learned)

    def generators():
        return [torch.Generator().manual_seed(seed) for seed in (5, 6)]

    seen = []
    data = torch.from_numpy(x0)
    bound = variational_bound(
        denoiser, data, nothing(2), generators=generators(), fixed=1.0, on_step=seen.append
    )
    assert seen == list(range(T))[::-1]
    again = generators()
    terms = np.zeros((2, T))
    for step in reversed(range(T)):
        t = np.array([step, step])
        noise = noise_like(data.shape, again).double().numpy()
        xt = np.sqrt(wide(ABAR, t)) * x0 + np.sqrt(1 - wide(ABAR, t)) * noise
        predicted = np.clip(0.9 * xt + 0.01 * step, -0.8, 0.8)
        v = (np.sin(3 * xt) + 1) / 2 if learned else 1.0
        terms[:, step] = numpy_term(x0, xt, predicted, v, t, 256)
    np.testing.assert_allclose(bound.steps.numpy(), terms[:, 1:], rtol=1e-7)
    np.testing.assert_allclose(bound.decoder.numpy(), terms[:, 0], rtol=1e-7)
    np.testing.assert_allclose(bound.prior.numpy(), prior_bits(schedule(), data).numpy())
    total = bound.prior.numpy() + terms.sum(1)
    np.testing.assert_allclose(bound.total.numpy(), total, rtol=1e-7)


def test_reverse_step_with_the_true_x0_and_posterior_variance_has_zero_kl():
    x0, noise, _ = problem(False)
    xt = np.sqrt(wide(ABAR)) * x0 + np.sqrt(1 - wide(ABAR)) * noise
    clean, noisy = torch.from_numpy(x0), torch.from_numpy(xt)
    perfect = Prediction(clean, torch.from_numpy(noise), torch.zeros_like(clean))
    bits = reverse_step_bits(schedule(), perfect, clean, noisy, torch.arange(T))
    assert bits[1:].abs().max() < 1e-12 and bits[0] > 0


@pytest.mark.parametrize("levels", [2, 16, 256])
@pytest.mark.parametrize("mean", [-1.7, -1.0, 0.003, 0.8, 3.0])
def test_discretized_gaussian(mean, levels):
    """The probabilities of all levels sum to 1; each is that of its bin, where SciPy's is not 0."""
    deviation = np.array([0.002, 0.03, 0.5, 4.0])
    x = np.linspace(-1, 1, levels)
    log_variance = torch.from_numpy(2 * np.log(deviation))
    ours = discretized_log_likelihood(
        torch.from_numpy(x)[:, None], torch.tensor(mean, dtype=torch.float64), log_variance, levels
    ).numpy()
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(np.exp(ours).sum(axis=0), 1, rtol=1e-9)
    edges = (
        np.append(-np.inf, (x[1:] + x[:-1]) / 2)[:, None],
        np.append((x[1:] + x[:-1]) / 2, np.inf)[:, None],
    )
    expected = np.diff(norm.cdf(edges, mean, deviation), axis=0)[0]
    upper_tail = -np.diff(norm.sf(edges, mean, deviation), axis=0)[0]  # keeps its digits right of the mean
    expected = np.where(x[:, None] > mean, upper_tail, expected)
    known = expected > 1e-250
    np.testing.assert_allclose(ours[known], np.log(expected[known]), rtol=1e-6, atol=1e-6)


def test_discretized_gaussian_in_float32_far_from_the_data():
    """As for an untrained network: gradients are finite and point towards the data."""
    mean = torch.linspace(-20, 20, 9, requires_grad=True)
    log_variance = torch.full((9,), -12.0, requires_grad=True)
    for level in (-1.0, 10 / 127.5 - 1, 1.0):
        log_likelihood = discretized_log_likelihood(torch.full((9,), level), mean, log_variance)
        gradients = torch.autograd.grad(log_likelihood.sum(), [mean, log_variance])
        assert log_likelihood.isfinite().all() and all(g.isfinite().all() for g in gradients)
        outside = (mean.detach() - level).abs() > 0.1
        inwards = (level - mean.detach()).sign()
        hidden = (level == 1.0) & (mean.detach() > 1) | (level == -1.0) & (mean.detach() < -1)
        assert (gradients[0].sign() == inwards)[outside & ~hidden].all()
