"""Tests of sharpness and noise level against images with a known blur and a known noise."""

import math

import pytest
import torch
from torch import Tensor

from dreamlift.evaluation.image_metrics import edge_width, luminance, noise_level

SIDE = 128


def edge(deviation: float, contrast: float = 1.0) -> Tensor:
    """A vertical step between two pixels, blurred by a Gaussian: (1,3,SIDE,SIDE)."""
    at = torch.arange(SIDE) + 0.5 - SIDE / 2
    step = torch.erf(at / (deviation * math.sqrt(2))) if deviation else at.sign()
    return (contrast / 2 * step).expand(1, 3, SIDE, SIDE)


@pytest.mark.parametrize("deviation", [1.5, 2.0, 2.5])
def test_width_of_a_blurred_step_is_that_of_its_gaussian(deviation: float) -> None:
    expected = torch.tensor([deviation * math.sqrt(2 * math.pi)])
    assert edge_width(edge(deviation)) == pytest.approx(expected, rel=0.05)
    assert edge_width(edge(deviation).transpose(2, 3)) == pytest.approx(expected, rel=0.05)
    torch.testing.assert_close(edge_width(edge(deviation, 0.5)), edge_width(edge(deviation)))


def test_width_of_a_step_is_one_pixel_and_of_a_blank_image_an_eighth_of_the_side() -> None:
    both = edge_width(torch.cat([edge(0), torch.zeros(1, 3, SIDE, SIDE)]))
    assert both.tolist() == [1.0, SIDE / 8]


def test_noise_level_is_the_deviation_whatever_the_gradient_and_the_edges() -> None:
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(-0.4, 0.4, SIDE)[:, None] + edge(0)
    noise = torch.randn(4, 3, SIDE, SIDE, generator=generator)
    assert noise_level(ramp).item() == pytest.approx(0, abs=1e-3)
    assert noise_level(ramp + 0.02 * noise) == pytest.approx(torch.full((4,), 0.02 * 127.5), rel=0.03)


def test_luminance_of_gray_is_its_level() -> None:
    gray = torch.rand(2, 1, 8, 8).expand(-1, 3, -1, -1)
    torch.testing.assert_close(luminance(gray), gray[:, 0])
