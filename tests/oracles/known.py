"""Data distributions with a closed form of the optimal denoiser E[x0 | x_t] and of the probability flow."""

import math

import torch
from torch import nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization


def empty_condition(value, batch):
    """A condition whose only token state is `value`."""
    tokens = torch.full((batch, 1, 1), value, dtype=torch.float64)
    mask = torch.ones(batch, 1, dtype=torch.bool)
    return Condition(tokens, mask, torch.zeros(batch, 10, dtype=torch.float64))


class Known(nn.Module):
    """A network that returns the optimal output in its parameterization."""

    def __init__(self, schedule, parameterization=Parameterization.X0):
        super().__init__()
        self.schedule, self.parameterization = schedule, parameterization

    def forward(self, x, t, condition):
        alpha, sigma = self.schedule.alpha(t, x), self.schedule.sigma(t, x)
        x0 = self.expected(x, alpha, sigma, condition)
        return self.parameterization.target(x0, (x - alpha * x0) / sigma, alpha, sigma)

    def denoiser(self):
        return Denoiser(self, self.schedule, self.parameterization)

    def levels(self, t):
        return self.schedule.alpha(t).item(), self.schedule.sigma(t).item()


class Gaussian(Known):
    """Independent values of N(mu, s^2); mu is each row's first token state."""

    def __init__(self, schedule, parameterization=Parameterization.X0, s=1.0):
        super().__init__(schedule, parameterization)
        self.s = s

    def expected(self, x, alpha, sigma, condition):
        mu = condition.tokens[:, 0, 0].to(x).view(-1, *[1] * (x.ndim - 1))
        return mu + alpha * self.s**2 * (x - alpha * mu) / (alpha**2 * self.s**2 + sigma**2)


class Plane(Known):
    """Rows (B,2) of one Gaussian with correlated coordinates."""

    mu = torch.tensor([0.5, -0.3], dtype=torch.float64)
    covariance = torch.tensor([[0.6, 0.35], [0.35, 0.3]], dtype=torch.float64)

    def expected(self, x, alpha, sigma, condition):
        noisy = alpha[0] ** 2 * self.covariance + sigma[0] ** 2 * torch.eye(2, dtype=x.dtype)
        return self.mu + alpha * (x - alpha * self.mu) @ torch.linalg.solve(noisy, self.covariance)

    def flow(self, x, t, s):
        """The flow from t to s: each principal axis is scaled by its ratio of standard deviations."""
        variance, axes = torch.linalg.eigh(self.covariance)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.levels(t), self.levels(s)
        stretch = ((alpha_s**2 * variance + sigma_s**2) / (alpha_t**2 * variance + sigma_t**2)).sqrt()
        return alpha_s * self.mu + (x - alpha_t * self.mu) @ axes * stretch @ axes.T

    def quantiles(self, t, count):
        """Points (count,2) of the distribution at t."""
        alpha, sigma = self.levels(t)
        angle = torch.linspace(0, 2 * math.pi, count, dtype=torch.float64)
        circle = torch.stack([angle.cos(), 1.5 * angle.sin()], dim=1)
        noisy = alpha**2 * self.covariance + sigma**2 * torch.eye(2, dtype=torch.float64)
        return alpha * self.mu + circle @ torch.linalg.cholesky(noisy).T


class Mixture(Known):
    """Independent values of a strongly non-Gaussian mixture of three Gaussians."""

    weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    means = torch.tensor([-1.0, 0.1, 0.9], dtype=torch.float64)
    deviations = torch.tensor([0.25, 0.4, 0.15], dtype=torch.float64)

    def expected(self, x, alpha, sigma, condition):
        x, alpha, sigma = x[..., None], alpha[..., None], sigma[..., None]
        variance = alpha**2 * self.deviations**2 + sigma**2
        off = x - alpha * self.means
        share = (self.weights.log() - variance.log() / 2 - off**2 / (2 * variance)).softmax(-1)
        return (share * (self.means + alpha * self.deviations**2 * off / variance)).sum(-1)

    def distribution(self, x, t):
        """P(x_t <= x)."""
        alpha, sigma = self.levels(t)
        deviation = (alpha**2 * self.deviations**2 + sigma**2).sqrt()
        off = (x[..., None] - alpha * self.means) / deviation
        return (self.weights * torch.special.ndtr(off)).sum(-1)

    def quantile(self, probability, t):
        """The inverse of `distribution`, by bisection."""
        alpha, sigma = self.levels(t)
        low, high = torch.full_like(probability, -10 * (alpha + sigma)), 10 * (alpha + sigma)
        high = torch.full_like(probability, high)
        for _ in range(100):
            middle = (low + high) / 2
            below = self.distribution(middle, t) < probability
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def flow(self, x, t, s):
        """The flow from t to s: in one dimension it preserves order, and so the quantile of every point."""
        return self.quantile(self.distribution(x, t), s)

    def quantiles(self, t, count):
        """Points (count,1) of the distribution at t."""
        return self.quantile(torch.linspace(0.03, 0.97, count, dtype=torch.float64), t)[:, None]
