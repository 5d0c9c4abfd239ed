"""Metrics of seams, on clips whose answer is known."""

import math

import pytest
import torch

from dreamlift.evaluation.video_metrics import drift, loop_seam, seam


def levels(*values: float) -> torch.Tensor:
    """A clip of uniform frames."""
    return torch.tensor(values).view(1, 1, -1, 1, 1).expand(1, 3, -1, 4, 4)


def test_steady_motion_has_no_seam_and_a_jump_is_as_large_as_it_is() -> None:
    steady = levels(*(0.1 * i for i in range(8)))
    assert seam(steady, [4]).item() == pytest.approx(1)
    jump = levels(0, 0.1, 0.2, 0.3, 0.8, 0.9, 1.0, 1.1)
    assert seam(jump, [4]).item() == pytest.approx(5)
    assert seam(jump, [2]).item() == pytest.approx((0.1) / ((0.1 + 0.1 + 0.5) / 3))
    frozen = levels(0, 0.1, 0.2, 0.2, 0.3, 0.4)
    assert seam(frozen, [3]).item() == pytest.approx(0)


def test_the_speed_near_a_border_counts_not_that_of_the_clip() -> None:
    swing = levels(*(math.sin(2 * math.pi * i / 32) for i in range(32)))
    assert seam(swing, [16], reach=2).item() == pytest.approx(1, abs=0.1)  # fastest there
    overall = swing.diff(dim=2).abs()
    assert (overall[0, 0, 15].mean() / overall.mean()).item() > 1.4


def test_loops_are_compared_at_their_ends() -> None:
    closed = levels(*(math.sin(2 * math.pi * (i + 0.3) / 32) for i in range(32)))
    assert loop_seam(closed).item() == pytest.approx(1, abs=0.1)
    assert loop_seam(levels(*(0.1 * i for i in range(16)))).item() == pytest.approx(15)


def test_drift_is_between_the_first_loop_and_the_last() -> None:
    loop = [math.sin(2 * math.pi * i / 4) / 2 for i in range(4)]
    assert drift(levels(*loop, *loop, *loop), 4).item() == pytest.approx(0, abs=1e-5)
    moved = levels(*loop, *loop, *(x + 0.2 for x in loop), 5.0)
    assert drift(moved, 4).item() == pytest.approx(0.2 * 127.5)


@pytest.mark.parametrize("borders", [[], [0], [8]])
def test_borders_outside_the_clip(borders: list[int]) -> None:
    with pytest.raises(ValueError, match="borders must lie in"):
        seam(levels(*range(8)), borders)
