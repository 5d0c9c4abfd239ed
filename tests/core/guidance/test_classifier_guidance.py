"""Guidance by the gradient of a classifier."""

import pytest
import torch

from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.guidance import (
    ClassifierGuidance,
)
from tests.core.guidance.guided import Quadratic, Recorder, condition, guided_noise, setup


def test_classifier_guidance_matches_its_formula():
    denoiser, x, t = setup()
    prompt = condition(2, 5, 1)
    guidance = ClassifierGuidance(denoiser, Quadratic(), torch.tensor([0, 1]), 3.0)
    with torch.no_grad():
        guided = guidance(x, t, prompt)
    logits = torch.stack([x.flatten(1).sum(1), 0.3 * x.square().flatten(1).sum(1)], dim=1)
    p = logits.softmax(1)[:, :, None, None, None]
    slopes = torch.stack([torch.ones_like(x), 0.6 * x], dim=1)
    gradient = slopes[[0, 1], [0, 1]] - (p * slopes).sum(1)
    sigma = guidance.schedule.sigma(t, x)
    expected = denoiser(x, t, prompt).eps - 3.0 * sigma * gradient
    torch.testing.assert_close(guided.eps, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(guided_noise(denoiser, guided, t), x, rtol=1e-4, atol=1e-3)
    assert not guided.eps.requires_grad


def test_wrong_labels_or_schedules_raise_value_error():
    denoiser, x, t = setup()
    with pytest.raises(ValueError, match="labels \\(3,\\) for a batch of 2"):
        ClassifierGuidance(denoiser, Quadratic(), torch.tensor([0, 1, 1]))(x, t, condition(2, 5, 1))
    linear = Denoiser(Recorder(), NoiseSchedule.linear(), Parameterization.EPS)
    with pytest.raises(ValueError, match="classifier has the schedule NoiseSchedule.cosine"):
        ClassifierGuidance(linear, Quadratic(), torch.tensor([0]))


def test_without_signal_classifier_guidance_has_no_effect():
    """At alpha = 0 the step in x0 would be infinite, and the guidance is skipped."""
    table = torch.linspace(1, 0, 11, dtype=torch.float64)[1:]
    schedule = NoiseSchedule("linear", table, (1 - table**2).sqrt(), {})
    classifier = Quadratic()
    classifier.schedule = schedule
    denoiser = Denoiser(Recorder(), schedule, Parameterization.X0)
    x, t, prompt = torch.randn(2, 3, 4, 4), torch.tensor([9, 9]), condition(2, 5, 1)
    guided = ClassifierGuidance(denoiser, classifier, torch.tensor([0]), 3.0)(x, t, prompt)
    torch.testing.assert_close(guided, denoiser(x, t, prompt))
