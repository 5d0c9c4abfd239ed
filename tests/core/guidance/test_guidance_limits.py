"""Limits of guidance: dynamic thresholding of x0, and intervals of noise levels."""

import numpy as np
import pytest
import torch
from torch import nn

from core.diffusion.parameterization import Parameterization
from core.guidance import (
    ClassifierFreeGuidance,
    DynamicThresholding,
    GuidanceInterval,
)
from tests.core.guidance.guided import condition, guided_noise, setup


class TripleNetwork(nn.Module):
    """A network that returns 3 x."""

    def forward(self, x, t, condition):
        return 3 * x


@pytest.mark.parametrize("frames", [None, 5])
@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.995, 1.0])
def test_dynamic_thresholding_is_numpys_percentile(frames, percentile):
    """The first row exceeds 1 and is scaled; the second does not and is unchanged."""
    denoiser, x, t = setup(frames, parameterization=Parameterization.X0, clip=1.0)
    x[1] *= 0.05
    denoiser.network = TripleNetwork()
    prompt = condition(2, 5, 1, frames)
    limited = DynamicThresholding(denoiser, percentile)(x, t, prompt)
    x0 = denoiser.predict(x, t, prompt).x0.double().numpy()
    for row in range(2):
        limit = max(1.0, np.percentile(np.abs(x0[row]), 100 * percentile))
        assert (limit > 1) == (row == 0)
        expected = np.clip(x0[row], -limit, limit) / limit
        np.testing.assert_allclose(limited.x0[row].numpy(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(guided_noise(denoiser, limited, t), x, rtol=1e-4, atol=1e-5)


def test_dynamic_thresholding_replaces_the_clip_inside_and_outside_guidance():
    """In both orders it applies once, to the guided x0, and the denoiser's own clip does not apply."""
    denoiser, x, t = setup(clip=1.0)
    prompt, negative = condition(2, 5, 1), condition(1, 3, 2)
    free = ClassifierFreeGuidance(denoiser, 9.0, negative).predict(x, t, prompt).x0
    inside = ClassifierFreeGuidance(DynamicThresholding(denoiser, 0.8), 9.0, negative)(x, t, prompt)
    outside = DynamicThresholding(ClassifierFreeGuidance(denoiser, 9.0, negative), 0.8)(x, t, prompt)
    for row in range(2):
        limit = max(1.0, np.percentile(free[row].abs().numpy(), 80))
        expected = (free[row] / limit).clamp(-1, 1)
        torch.testing.assert_close(inside.x0[row], expected)
        torch.testing.assert_close(outside.x0[row], expected)
    with pytest.raises(ValueError, match="percentile"):
        DynamicThresholding(denoiser, 99.5)


LEVELS = 0.2, 5.0


def interval_of(denoiser, **options):
    """Classifier-free guidance in the interval LEVELS."""
    return GuidanceInterval(ClassifierFreeGuidance(denoiser, 4.0, condition(1, 3, 2), **options), *LEVELS)


def test_outside_the_interval_the_denoiser_is_asked_alone():
    """The timesteps inside are computed from the formula of the cosine schedule."""
    denoiser, x, _ = setup(clip=1.0)
    prompt, guidance = condition(2, 5, 1), interval_of(denoiser)
    plain, guided = denoiser, guidance.guidance
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    level = np.sqrt(f[0] / f[1:] - 1)
    inside = (level > LEVELS[0]) & (level <= LEVELS[1])
    sides = set()
    for step in (0, 50, 110, 120, 300, 860, 880, 998):
        t = torch.full((2,), step)
        denoiser.network.calls.clear()
        result = guidance(x, t, prompt)
        assert [len(call[0]) for call in denoiser.network.calls] == [4 if inside[step] else 2]
        torch.testing.assert_close(result, (guided if inside[step] else plain)(x, t, prompt))
        sides.add(bool(inside[step]))
    assert sides == {True, False}


def test_rows_on_both_sides_of_the_interval():
    denoiser, _, _ = setup()
    x = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(9))
    t = torch.tensor([10, 500, 990, 400])
    prompt, guidance = condition(4, 5, 1), interval_of(denoiser)
    result = guidance(x, t, prompt)
    plain, guided = denoiser(x, t, prompt), guidance.guidance(x, t, prompt)
    for part, unguided, guided_part in zip(result[:2], plain[:2], guided[:2], strict=True):
        torch.testing.assert_close(part[[0, 2]], unguided[[0, 2]])
        torch.testing.assert_close(part[[1, 3]], guided_part[[1, 3]])


def test_nested_intervals_act_on_their_intersection():
    denoiser, x, _ = setup()
    prompt, inner = condition(2, 5, 1), interval_of(denoiser)
    outer = GuidanceInterval(inner, 1.0, 50.0)
    for step, guided in ((300, False), (600, True), (900, False), (998, False)):  # 0.5, 1.4, 6.4, 640
        t = torch.full((2,), step)
        denoiser.network.calls.clear()
        result = outer(x, t, prompt)
        assert [len(call[0]) for call in denoiser.network.calls] == [4 if guided else 2]
        torch.testing.assert_close(result, (inner.guidance if guided else denoiser)(x, t, prompt))


def test_thresholding_inside_an_interval_raises_value_error():
    with pytest.raises(ValueError, match="around the interval"):
        GuidanceInterval(DynamicThresholding(interval_of(setup()[0])), 0.2, 5.0)


@pytest.mark.parametrize("levels", [(5.0, 0.2), (-1.0, 2.0), (1.0, 1.0), (float("nan"), 1.0)])
def test_invalid_intervals_raise_value_error(levels):
    denoiser, _, _ = setup()
    with pytest.raises(ValueError, match="interval"):
        GuidanceInterval(ClassifierFreeGuidance(denoiser, 4.0, condition(1, 3, 2)), *levels)
