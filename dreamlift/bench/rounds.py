"""Repeats in turn (A B A B), and the median of what they give with its interval."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from math import comb
from statistics import median
from typing import NamedTuple

LEAST_CONFIDENCE = 0.9

Side = Callable[[], float]
"""Does the work of one side of a comparison once and returns the seconds that it took."""


class Interval(NamedTuple):
    """The median of repeats between two of their order statistics.

    confidence: the probability that the interval contains the median of the distribution, whatever its shape.
    """

    median: float
    low: float
    high: float
    confidence: float


def median_interval(values: Sequence[float]) -> Interval:
    """The median of independent repeats with the narrowest interval of at least 90% confidence.

    Of n sorted repeats it reaches from the k-th to the (n + 1 - k)-th, which contain the median with
    probability 1 - 2 P(Binomial(n, 1/2) < k): David & Nagaraja 2003, "Order Statistics", section 7.1. With
    fewer than five repeats it is their range, of less confidence.

    Raises ValueError for no repeats.
    """
    if not values:
        raise ValueError("a median needs at least one repeat")
    ordered, count = sorted(values), len(values)
    rank = max((k for k in range(1, count // 2 + 1) if _confidence(count, k) >= LEAST_CONFIDENCE), default=1)
    return Interval(median(ordered), ordered[rank - 1], ordered[count - rank], _confidence(count, rank))


def _confidence(count: int, rank: int) -> float:
    """Probability that the median lies between the order statistics `rank` and count + 1 - rank."""
    return 1 - 2 * sum(comb(count, below) for below in range(rank)) / 2**count


def in_turn(sides: Mapping[str, Side], repeats: int) -> dict[str, list[float]]:
    """Seconds of each side in each of `repeats` rounds, all sides in turn in every round.

    Other load on the machine then counts for all sides of a round. No garbage is collected meanwhile.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name, side in sides.items():
                seconds[name].append(side())
    finally:
        if collecting:
            gc.enable()
    return seconds
