"""The chart of a benchmark: ratios with their intervals, parts, and growth of the cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from textwrap import fill, wrap
from typing import Any

from dreamlift.bench.results import OURS, BenchResult
from dreamlift.bench.rounds import Interval

WIDTH, ROW_HEIGHT, PANEL_HEIGHT, DPI = 8.0, 0.42, 0.8, 100  # inches, and dots of each
NAMES = 40  # letters of a line of a row's name
LETTER = 1.4  # percent of a bar that a letter takes
LINES = 3  # that fit into a bar
TICKS = [2.0**power for power in range(-8, 9)]  # of ratios


def draw_chart(result: BenchResult, path: Path) -> None:
    """Writes the chart as PNG or WebP, by matplotlib."""
    figure_module: Any = import_module("matplotlib.figure")
    counts = {
        _draw_ratios: len(_relations(result, differences=False)),
        _draw_differences: len(_relations(result, differences=True)),
        _draw_parts: len(result.parts),
        _draw_costs: 6 if result.costs else 0,
    }
    panels = {draw: count for draw, count in counts.items() if count}
    heights = [PANEL_HEIGHT + ROW_HEIGHT * count for count in panels.values()]
    figure = figure_module.Figure(figsize=(WIDTH, sum(heights)), dpi=DPI, layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for draw, panel in zip(panels, axes, strict=True):
        _draw(draw, result, panel)
    figure.savefig(path)


def _draw(draw: Callable[[BenchResult, Any], None], result: BenchResult, panel: Any) -> None:
    """Draws one panel, without a frame above and on the right."""
    draw(result, panel)
    panel.spines[["top", "right"]].set_visible(False)


def _relations(result: BenchResult, differences: bool) -> list[tuple[str, Interval]]:
    """Names of our differences from other sides, or else of our ratios to them, with their intervals."""
    sign = "minus" if differences else "over"
    return [
        (fill(each.name.replace("`", ""), NAMES) + f"\n{sign} {other}", each.relative(other))
        for each in result.comparisons
        for other in each.sides
        if other != OURS and (each.relation == "difference") == differences
    ]


def _draw_ratios(result: BenchResult, panel: Any) -> None:
    rows = _relations(result, differences=False)
    _draw_intervals(rows, panel)
    panel.axvline(1, color="0.6", linewidth=1)
    panel.set_xscale("log")
    ends = min(ratio.low for _, ratio in rows) / 1.5, max(ratio.high for _, ratio in rows) * 1.5
    ticks = [tick for tick in TICKS if ends[0] < tick < ends[1]]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_xticks([], minor=True)
    panel.set_xlabel("our seconds over theirs; left of 1, ours are fewer")


def _draw_differences(result: BenchResult, panel: Any) -> None:
    _draw_intervals(_relations(result, differences=True), panel)
    panel.set_xlim(left=0)
    panel.set_xlabel("seconds more than the other")


def _draw_intervals(rows: Sequence[tuple[str, Interval]], panel: Any) -> None:
    """A point with its interval in each row, from the top down."""
    places = range(len(rows))[::-1]
    intervals = [interval for _, interval in rows]
    errors = [[each.median - each.low for each in intervals], [each.high - each.median for each in intervals]]
    panel.errorbar([each.median for each in intervals], places, xerr=errors, fmt="o", capsize=3)
    panel.set_yticks(places, [name for name, _ in rows], fontsize=8)
    panel.set_ylim(-0.6, len(rows) - 0.4)


def _draw_parts(result: BenchResult, panel: Any) -> None:
    for place, parts in enumerate(result.parts[::-1]):
        start = 0.0
        for number, name in enumerate(parts.parts):
            share = 100 * parts.share(name)
            panel.barh(place, share, left=start, color=f"C{number % 10}")
            lines = wrap(name, max(1, int(share / LETTER)), break_long_words=False)
            if len(lines) <= LINES and share > LETTER * max(map(len, lines)):
                panel.text(start + share / 2, place, "\n".join(lines), ha="center", va="center", fontsize=7)
            start += share
    names = [fill(parts.name, NAMES) for parts in result.parts[::-1]]
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.set_xlabel("share of the seconds, %")


def _draw_costs(result: BenchResult, panel: Any) -> None:
    for cost in result.costs:
        first = cost.points[0]
        x = [point.value / first.value for point in cost.points]
        y = [median(point.seconds) / median(first.seconds) for point in cost.points]
        panel.plot(x, y, marker="o", label=f"{cost.name} ({cost.exponent:.2f})")
    panel.set_xscale("log", base=2)
    panel.set_yscale("log", base=2)
    panel.set_xlabel("times the first value")
    panel.set_ylabel("times the seconds")
    panel.legend(fontsize=7)
