"""Guidance on a mixture of Gaussians, one per class, whose scores are known in closed form."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.guidance import Autoguidance, ClassifierGuidance
from core.samplers import ddim

SCHEDULE = NoiseSchedule.cosine()
WEIGHTS = np.array([0.2, 0.5, 0.3])
MEANS = np.array([[-1.0, 0.5], [0.8, -0.3], [0.2, 1.2]])
SPREADS = np.array([0.3, 0.5, 0.2])


def moments(t):
    """Means (K,2) and standard deviations (K,) of the classes at t, of x_t."""
    alpha, sigma = SCHEDULE.alpha(t).item(), SCHEDULE.sigma(t).item()
    return alpha * MEANS, np.sqrt(alpha**2 * SPREADS**2 + sigma**2)


def densities(x, t):
    """p(y, x_t), (B,K), by SciPy."""
    means, spreads = moments(t)
    return WEIGHTS * norm.pdf(x[:, None], means, spreads[:, None]).prod(-1)


def class_scores(x, t):
    """grad log p(x_t | y), (B,K,2): each class is one Gaussian."""
    means, spreads = moments(t)
    return (means - x[:, None]) / spreads[:, None] ** 2


def score(x, t):
    """grad log p(x_t), (B,2)."""
    p = densities(x, t)
    return (p[..., None] * class_scores(x, t)).sum(1) / p.sum(1, keepdims=True)


class Mixture(nn.Module):
    """The optimal network eps = -sigma grad log p(x_t), for all classes or for one."""

    def __init__(self, label=None):
        super().__init__()
        self.label = label

    def forward(self, x, t, condition):
        here, step = x.detach().numpy(), int(t[0])
        exact = score(here, step) if self.label is None else class_scores(here, step)[:, self.label]
        return torch.from_numpy(-SCHEDULE.sigma(step).item() * exact).to(x)


class Exact:
    """The exact log p(y | x_t) by Bayes' rule, up to a term common to all classes; differentiable."""

    schedule = SCHEDULE

    def __call__(self, x, t):
        means, spreads = (torch.from_numpy(m).to(x) for m in moments(int(t[0])))
        distance = (x[:, None] - means).square().sum(-1)
        weights = torch.from_numpy(WEIGHTS).to(x)
        return weights.log() - 2 * spreads.log() - distance / (2 * spreads**2)


def denoiser(label=None):
    return Denoiser(Mixture(label), SCHEDULE, Parameterization.EPS)


def nothing_said(batch):
    return Condition(torch.zeros(batch, 1, 1), torch.ones(batch, 1, dtype=torch.bool), torch.zeros(batch, 10))


def points(t, count=60):
    """Points where x_t is likely, and points far from them."""
    generator = torch.Generator().manual_seed(t)
    return 1.5 * torch.randn(count, 2, generator=generator, dtype=torch.float64)


TIMES = [5, 200, 500, 900]


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("label", [0, 1, 2])
def test_classifier_guidance_of_scale_one_is_the_class_conditional_score(t, label):
    x, times = points(t), torch.full((60,), t)
    guided = ClassifierGuidance(denoiser(), Exact(), torch.tensor([label]))(x, times, nothing_said(60))
    expected = -SCHEDULE.sigma(t).item() * class_scores(x.numpy(), t)[:, label]
    torch.testing.assert_close(guided.eps, torch.from_numpy(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_classifier_guidance_is_the_score_of_the_tilted_density(t, scale):
    """The score of p(x) p(y | x)^s, by central differences."""
    x, times = points(t, 20), torch.full((20,), t)
    labels = torch.arange(20) % 3

    def tilted(at):
        joint = densities(at, t)
        own = np.log(joint[np.arange(20), labels])
        return (1 - scale) * np.log(joint.sum(1)) + scale * own

    h = 1e-5
    slopes = [(tilted(x.numpy() + e) - tilted(x.numpy() - e)) / (2 * h) for e in h * np.eye(2)]
    guided = ClassifierGuidance(denoiser(), Exact(), labels, scale)(x, times, nothing_said(20))
    expected = -SCHEDULE.sigma(t).item() * np.stack(slopes, axis=1)
    torch.testing.assert_close(guided.eps, torch.from_numpy(expected), rtol=1e-5, atol=1e-5)


def test_sampling_with_classifier_guidance_gives_the_class():
    """In a sampler that disables gradients; mean and deviation within the error of 300 steps."""
    guidance = ClassifierGuidance(denoiser(), Exact(), torch.tensor([1]))
    noise = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    *_, last = ddim(guidance, noise, nothing_said(2000), steps=300)
    assert np.abs(last.x.mean(0).numpy() - MEANS[1]).max() < 0.05
    assert np.abs(last.x.std(0).numpy() / SPREADS[1] - 1).max() < 0.05


def test_autoguidance_by_the_mixture_is_classifier_guidance():
    """One class with all classes as the weak model gives p(x | y)^s p(x)^(1 - s), by Bayes' rule."""
    x, times = points(400), torch.full((60,), 400)
    auto = Autoguidance(denoiser(2), denoiser(), 2.5)(x, times, nothing_said(60))
    classified = ClassifierGuidance(denoiser(), Exact(), torch.tensor([2]), 2.5)(x, times, nothing_said(60))
    torch.testing.assert_close(auto, classified, rtol=1e-6, atol=1e-6)
