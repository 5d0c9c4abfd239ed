"""Repeats in turn, and intervals of their median against known distributions."""

import random

import pytest

from dreamlift.bench.rounds import in_turn, median_interval


def test_sides_are_called_in_turn_and_every_call_is_kept() -> None:
    calls: list[str] = []

    def side(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    seconds = in_turn({"a": lambda: side("a"), "b": lambda: side("b")}, 3)
    assert calls == ["a", "b"] * 3
    assert seconds == {"a": [1, 3, 5], "b": [2, 4, 6]}


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(5, 1, 5), (8, 2, 7), (13, 4, 10), (20, 6, 15)],  # tables of the sign test at 10%
)
def test_interval_has_the_order_statistics_of_the_sign_test(count: int, low: int, high: int) -> None:
    interval = median_interval([float(value) for value in range(count, 0, -1)])
    assert interval[:3] == ((count + 1) / 2, low, high)
    assert interval.confidence >= 0.9


def test_interval_contains_the_median_as_often_as_its_confidence() -> None:
    """Of exponential repeats, whose median is ln 2."""
    source = random.Random(0)
    samples = [[source.expovariate(1) for _ in range(9)] for _ in range(4000)]
    intervals = [median_interval(sample) for sample in samples]
    covered = sum(interval.low <= 0.693147 <= interval.high for interval in intervals) / len(samples)
    assert covered == pytest.approx(intervals[0].confidence, abs=0.02)


def test_few_repeats_give_their_range_and_a_lower_confidence() -> None:
    assert median_interval([3.0, 1.0]) == (2, 1, 3, 0.5)
    with pytest.raises(ValueError, match="at least one"):
        median_interval([])
