"""Overlapping windows: what they cover, how they are weighted, where they change nothing."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.samplers import ddim
from tests.oracles.known import Gaussian, empty_condition
from video.nn import windows
from video.nn.windows import CircularWindows, OverlappingWindows, first_frame, window_starts


class Counting(nn.Module):
    """Puts out the number of the call, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = []

    def forward(self, clip, t, condition):
        self.seen.append((clip, condition))
        return torch.full_like(clip, float(len(self.seen) - 1))


def numbered(frames: int, per_frame: bool = False):
    clip = torch.arange(frames, dtype=torch.float64).view(1, 1, -1, 1, 1).expand(2, 3, -1, 2, 2)
    rows = torch.arange(frames).double().view(1, -1, 1).expand(2, -1, 10) if per_frame else torch.zeros(2, 10)
    return clip, torch.tensor([3, 4]), Condition(torch.zeros(2, 1, 1), torch.ones(2, 1).bool(), rows)


def test_seven_frames_in_windows_of_four_by_hand() -> None:
    network = Counting()
    out = OverlappingWindows(network, limit=5, size=4, overlap=1)(*numbered(7))
    # Frames 0-3 and 3-6; both ends of a window weigh 1.
    assert out[0, 0, :, 0, 0].tolist() == [0, 0, 0, 0.5, 1, 1, 1]
    out = OverlappingWindows(Counting(), limit=5, size=4, overlap=2)(*numbered(7))
    # Frames 0-3, 2-5 (the middle one of 1.5 rounds to 2) and 3-6, weighing 1, 2, 2, 1.
    expected = [0, 0, 1 / 3, (0 + 2 * 1 + 1 * 2) / 4, (2 * 1 + 2 * 2) / 4, (1 + 2 * 2) / 3, 2]
    torch.testing.assert_close(out[1, 2, :, 1, 1], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("overlap", [0, 4, 8, 15])
def test_windows_cover_all_frames_and_share_what_they_should(overlap: int) -> None:
    for frames in range(17, 120):
        starts = window_starts(frames, 16, overlap)
        assert starts[0] == 0 and starts[-1] == frames - 16
        steps = [b - a for a, b in pairwise(starts)]
        assert all(0 < step <= 16 - overlap for step in steps)


def test_a_clip_within_the_limit_is_seen_at_once() -> None:
    network = Counting()
    clip, t, condition = numbered(24)
    OverlappingWindows(network, limit=24, size=16, overlap=4)(clip, t, condition)
    ((seen, told_of),) = network.seen
    assert seen is clip and told_of is condition


def test_frames_keep_their_own_attributes() -> None:
    network = Counting()
    OverlappingWindows(network, limit=8, size=8, overlap=2)(*numbered(20, per_frame=True))
    assert len(network.seen) == 3
    for clip, condition in network.seen:
        assert torch.equal(clip[:, 0, :, 0, 0], condition.attributes[..., 0])


def test_frames_that_know_nothing_of_each_other_come_out_as_without_windows() -> None:
    schedule = NoiseSchedule.cosine()
    plain = Gaussian(schedule, Parameterization.EPS, s=0.5)
    windows = Denoiser(OverlappingWindows(plain, 16, 16, 4), schedule, Parameterization.EPS)
    noise = torch.randn(1, 2, 50, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    *_, expected = ddim(plain.denoiser(), noise, empty_condition(0.3, 1), steps=10)
    *_, found = ddim(windows, noise, empty_condition(0.3, 1), steps=10)
    torch.testing.assert_close(found.x, expected.x)


@pytest.mark.parametrize("settings", [(16, 16, 16), (16, 17, 0), (16, 8, -1)])
def test_impossible_windows(settings: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="windows need 0 <= overlap < size <= limit"):
        OverlappingWindows(nn.Identity(), *settings)


class Neighbors(nn.Module):
    """Mixes each frame with the next one; the last one of the window has none."""

    def forward(self, clip, t, condition):
        return clip + 0.5 * torch.cat([clip[:, :, 1:], torch.zeros_like(clip[:, :, :1])], dim=2)


@pytest.mark.parametrize("frames", [5, 6, 11, 16])
def test_a_network_of_single_frames_sees_no_circle(frames: int) -> None:
    clip, t, condition = numbered(frames, per_frame=True)

    class Alone(nn.Module):
        def forward(self, clip, t, condition):
            return clip * 2 + condition.attributes[:, None, :, :1, None]

    torch.testing.assert_close(CircularWindows(Alone(), 6, 3)(clip, t, condition), 3 * clip)


@pytest.mark.parametrize("frames", [5, 6, 12, 18])
def test_a_circle_has_no_beginning(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first window moved with the clip gives the same result, moved."""
    clip, t, condition = numbered(frames)
    network = CircularWindows(Neighbors(), 6, 3)
    monkeypatch.setattr(windows, "first_frame", lambda t, frames: 0)
    still = network(clip, t, condition)
    monkeypatch.setattr(windows, "first_frame", lambda t, frames: 2)
    torch.testing.assert_close(network(clip.roll(2, 2), t, condition), still.roll(2, 2))


def test_no_pair_of_frames_stays_at_the_ends_of_the_window() -> None:
    timesteps = NoiseSchedule.cosine().sampling_timesteps(12)
    starts = [first_frame(torch.tensor([t]), 16) for t in timesteps]
    assert len(set(starts)) >= 8 and max(starts.count(each) for each in starts) <= 2
