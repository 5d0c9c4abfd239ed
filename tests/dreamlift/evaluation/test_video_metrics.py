"""Tests of the video metrics against clips and numbers with known answers."""

import math

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from dreamlift.evaluation.video_metrics import (
    LEVELS,
    compensated_flicker,
    figure,
    flicker,
    horizontal_position,
    motion,
    outside,
    sine_fit,
    unsteadiness,
    wilson,
)

SIDE, FRAMES = 64, 16


def square_clip(positions: Tensor, half: int = 6, backdrop: float = 0.6) -> Tensor:
    """A dark square centered at column `positions[i]` of frame i, on a backdrop that darkens downwards."""
    shade = backdrop - 0.2 * torch.arange(SIDE)[:, None] / SIDE
    clip = shade.expand(1, 3, len(positions), SIDE, SIDE).clone()
    for i, middle in enumerate(positions.tolist()):
        clip[:, :, i, 20:44, int(middle) - half : int(middle) + half] = -0.7
    return clip


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 10), (170, 200), (200, 200)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_interval_equals_scipy(hits: int, count: int, confidence: float) -> None:
    reference = binomtest(hits, count).proportion_ci(confidence, method="wilson")
    assert wilson(hits, count, confidence) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_still_clip_has_no_flicker_and_no_motion() -> None:
    still = square_clip(torch.full((FRAMES,), 32.0))
    assert flicker(still).item() == 0
    assert motion(still).item() == 0


def test_flicker_of_noise_is_the_mean_absolute_difference_of_normals() -> None:
    generator = torch.Generator().manual_seed(0)
    std = 0.02
    clip = square_clip(torch.full((FRAMES,), 32.0)).expand(4, -1, -1, -1, -1)
    noisy = clip + std * torch.randn(clip.shape, generator=generator)
    expected = 2 * std / math.sqrt(math.pi) * LEVELS  # E|a - b| of independent normals
    assert flicker(noisy) == pytest.approx(torch.full((4,), expected), rel=0.01)


def test_uniform_backdrop_changes_above_the_tolerance_count_as_flicker() -> None:
    clip = square_clip(torch.full((FRAMES,), 32.0))
    clip[:, :, ::2] += 0.3  # figure and backdrop, more than the tolerance
    assert flicker(clip).item() == pytest.approx(0.3 * LEVELS, rel=1e-5)


def test_moving_figure_does_not_count_as_flicker() -> None:
    moving = square_clip(32 + 10 * torch.sin(torch.arange(FRAMES) * 2 * torch.pi / FRAMES))
    assert flicker(moving).item() == 0
    assert motion(moving).item() > 20


def test_unsteadiness_of_noise_and_of_a_linear_change() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = 0.02 * torch.randn(4, 3, FRAMES, SIDE, SIDE, generator=generator)
    # The second difference of independent normals is normal with variance (1 + 4 + 1) std^2.
    expected = 0.02 * math.sqrt(6) * math.sqrt(2 / math.pi) / 2 * LEVELS
    assert unsteadiness(noise) == pytest.approx(torch.full((4,), expected), rel=0.01)
    ramp = torch.linspace(-1, 1, FRAMES)[:, None, None].expand(1, 3, -1, SIDE, SIDE)
    assert unsteadiness(ramp).item() == pytest.approx(0, abs=1e-4)


def texture(seed: int = 0, side: int = 2 * SIDE) -> Tensor:
    """A random gray pattern with details of a few pixels, (1,3,side,side)."""
    noise = torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(noise, 3, stride=1, padding=1).expand(-1, 3, -1, -1)


def test_steady_motion_of_a_texture_costs_no_compensated_flicker() -> None:
    """A pattern that moves by 2 pixels down and 3 to the left in every frame."""
    wide = texture()
    frames = [wide[..., 40 - 2 * i :, 3 * i :][..., :SIDE, :SIDE] for i in range(FRAMES)]
    clip = torch.stack(frames, dim=2)
    inside = clip[..., 8:-8, 8:-8]  # what enters at the border cannot be predicted
    assert unsteadiness(clip).item() > 10
    assert compensated_flicker(inside).item() < 0.2 * unsteadiness(clip).item()
    still = clip[:, :, :1].expand(-1, -1, FRAMES, -1, -1)
    assert compensated_flicker(still).item() == 0
    blinking = still + 0.2 * (torch.arange(FRAMES) % 2)[:, None, None]
    assert compensated_flicker(blinking).item() == pytest.approx(0.2 * LEVELS, rel=0.3)


def test_compensated_flicker_of_noise_is_at_most_its_closed_form() -> None:
    """x - (a + b) / 2 of independent normals has variance 3/2; the best of 81 displacements has less."""
    noise = 0.02 * torch.randn(4, 1, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    expected = 0.02 * math.sqrt(1.5) * math.sqrt(2 / math.pi) * LEVELS
    found = compensated_flicker(noise.expand(-1, 3, -1, -1, -1))
    assert (found < expected).all() and (found > 0.7 * expected).all()


def test_motion_is_the_standard_deviation_inside_the_figure() -> None:
    clip = square_clip(torch.full((FRAMES,), 32.0))
    inside = figure(clip)[0, 0]
    blinking = clip.clone()
    blinking[:, :, ::2, 20:44, 26:38] += 0.2  # half the frames: standard deviation 0.1
    assert inside.sum() == 24 * 12 and (~outside(blinking)[0] == inside).all()
    assert motion(blinking).item() == pytest.approx(0.1 * LEVELS, rel=1e-5)


def test_horizontal_position_follows_the_square_and_fits_its_sine() -> None:
    middles = (32 + 9 * torch.sin(2 * torch.pi * (torch.arange(FRAMES) / FRAMES + 0.2))).round()
    track = horizontal_position(square_clip(middles))
    assert track[0] == pytest.approx(middles / SIDE, abs=1e-5)
    fit = sine_fit(track)
    assert fit.r2.item() > 0.99  # the rest is rounding to the pixel grid
    assert fit.amplitude.item() == pytest.approx(9 / SIDE, rel=0.03)


def test_posts_and_shadows_do_not_change_the_position() -> None:
    middles = (26 + 9 * torch.sin(2 * torch.pi * torch.arange(FRAMES) / FRAMES)).round()
    clip = square_clip(middles)
    cluttered = clip.clone()
    cluttered[..., 10:40, 52:56] = -0.5  # a post
    for i in range(FRAMES):
        cluttered[:, :, i, 50:56, 8 + i : 28 + i] = 0.1  # a shadow with another motion
    torch.testing.assert_close(horizontal_position(cluttered), horizontal_position(clip))


@pytest.mark.parametrize("clip", [torch.zeros(1, 3, 4, SIDE, SIDE), square_clip(torch.full((4,), 20.0))])
def test_position_of_still_clips_is_the_middle(clip: Tensor) -> None:
    assert horizontal_position(clip) == pytest.approx(torch.full((1, 4), 0.5))


@pytest.mark.parametrize("cycles", [1.0, 2.0, 0.5])
def test_sines_of_any_phase_fit_exactly(cycles: float) -> None:
    angle = 2 * torch.pi * cycles * torch.arange(FRAMES) / FRAMES
    track = torch.stack([0.4 + size * torch.sin(angle + start) for size, start in ((0.1, 0.0), (0.03, 2.1))])
    fit = sine_fit(track, cycles)
    assert fit.r2 == pytest.approx(torch.ones(2), abs=1e-5)
    assert fit.amplitude == pytest.approx(torch.tensor([0.1, 0.03]), rel=1e-4)


def test_r2_of_constant_double_frequency_and_noise_tracks() -> None:
    still = torch.full((1, FRAMES), 0.3)
    twice = torch.sin(4 * torch.pi * torch.arange(FRAMES) / FRAMES)[None]
    assert sine_fit(still).r2.item() == 0 and sine_fit(still).amplitude.item() == pytest.approx(0, abs=1e-6)
    assert sine_fit(twice).r2.item() == pytest.approx(0, abs=1e-6)
    noise = torch.randn(4000, FRAMES, generator=torch.Generator().manual_seed(1))
    assert sine_fit(noise).r2.mean().item() == pytest.approx(2 / (FRAMES - 1), rel=0.05)
