"""Figures of benchmarks as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from statistics import median

from dreamlift.bench.results import (
    NOT_INSTALLED,
    OURS,
    BenchResult,
    Comparison,
    Cost,
    Environment,
    Measured,
    Parts,
    Rates,
    Work,
)
from dreamlift.bench.rounds import LEAST_CONFIDENCE, Interval

Reference = tuple[str, float]
"""Name of a rate of the machine, and GFLOP/s."""

NONE = "-"
LEAST_SHARE = 0.005  # of the rate, below which arithmetic is not what takes the time
RELATIONS = {
    "ratio": "ours over {}",
    "ratio per GFLOP": "ours over {}, per GFLOP",
    "difference": "ours minus {}",
}
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


def as_markdown(result: BenchResult) -> str:
    """All tables of a run, with the machine and the command that measured them."""
    blocks = [f"    {result.command}\n", environment_text(result.environment), rates_text(result.rates)]
    for table, comparisons in groupby(result.comparisons, lambda comparison: comparison.table):
        blocks.append(f"**{table}**\n\n" + comparison_table([*comparisons], result.reference))
    if result.not_run:
        blocks.append(markdown_table(("not run", "why"), [*result.not_run.items()]))
    blocks += [f"**{parts.name}**\n\n" + parts_table(parts, result.reference) for parts in result.parts]
    blocks += [f"**{cost.name}**\n\n" + cost_table(cost, result.reference) for cost in result.costs]
    return "\n".join(blocks)


def environment_text(environment: Environment) -> str:
    """A paragraph about the machine."""
    load = " before and ".join(f"{value:g}" for value in environment.load) or "unknown"
    names = {name: value for name, value in environment.versions.items() if name != "dreamlift"}
    versions = ", ".join(f"{name} {version}" for name, version in names.items())
    return (
        f"Measured on {environment.date} on {environment.processor or environment.device} "
        f"({environment.device}); load {load} after. "
        f"Seconds are {environment.clock}. {versions}.\n"
    )


def rates_text(rates: Rates) -> str:
    """A sentence about the rates of the machine."""
    return (
        f"Rates of the machine in the same run: {rates.matmul:.0f} GFLOP/s of matrix products, "
        f"{rates.convolution:.0f} of convolutions, {rates.bfloat16:.0f} of bfloat16 products, "
        f"{rates.memory:.0f} GB/s of memory.\n"
    )


def comparison_table(comparisons: Sequence[Comparison], reference: Reference) -> str:
    """A row of each comparison: seconds and memory by side, ratios with their intervals, work and rate.

    Columns that are empty in all rows are left out.
    """
    sides = list(dict.fromkeys(name for each in comparisons for name in (*each.sides, *each.missing)))
    others = [name for name in sides if name != OURS]
    words = RELATIONS[comparisons[0].relation]
    head = ["", *sides, *(words.format(name) for name in others)]
    head += [f"peak GB, {name}" for name in sides]
    head += ["GFLOP", "GB moved", f"of the {reference[0]}"]
    head += [f"result, {name}" for name in sides]
    rows: list[list[str]] = []
    for each in comparisons:
        row = [f"{each.name}, per {each.per}", *(_seconds_of(each, name) for name in sides)]
        row += [_relative(each, name) for name in others]
        row += [_number(each.sides.get(name), "peak_gb") for name in sides]
        work = each.work.get(OURS)
        row += _work(work, median(each.sides[OURS].seconds), reference)
        row += [_number(each.sides.get(name), "output") for name in sides]
        rows.append(row)
    return markdown_table(head, rows)


def parts_table(parts: Parts, reference: Reference) -> str:
    """A row of each part: median seconds, share, and arithmetic where it is counted."""
    rows: list[list[str]] = []
    for name, part in parts.parts.items():
        seconds = median(part.seconds)
        row = [name, time_text(seconds), f"{100 * parts.share(name):.0f}%"]
        rate = part.gflop / seconds if part.gflop and seconds else 0.0
        row += [f"{part.gflop:.4g}", f"{rate:.0f}"] if part.gflop else [NONE] * 2
        row += [f"{100 * rate / reference[1]:.0f}%" if rate else NONE]
        rows.append(row)
    gflop = sum(part.gflop or 0 for part in parts.parts.values())
    rate = gflop / parts.seconds
    counted = [f"{gflop:.4g}", f"{rate:.0f}", f"{100 * rate / reference[1]:.0f}%"] if gflop else [NONE] * 3
    rows.append(["all", time_text(parts.seconds), "100%", *counted])
    head = ["", f"per {parts.per}", "share", "GFLOP", "GFLOP/s", f"of the {reference[0]}"]
    return markdown_table(head, rows)


def cost_table(cost: Cost, reference: Reference) -> str:
    """A column of each value of the parameter, and the exponent by which seconds grow."""
    head = [cost.parameter, *(str(point.value) for point in cost.points)]
    rows = [["seconds", *(time_text(median(point.seconds)) for point in cost.points)]]
    first = cost.points[0]
    per_unit = [
        median(point.seconds) / point.value / median(first.seconds) * first.value for point in cost.points
    ]
    rows.append([f"per {cost.parameter}, of the first", *(f"{value:.2f}" for value in per_unit)])
    works = [point.work for point in cost.points]
    if all(works):
        rows.append(["GFLOP", *(f"{work.gflop:.3g}" for work in works if work)])
        rows.append(
            [
                f"of the {reference[0]}",
                *(
                    f"{100 * work.gflop / median(point.seconds) / reference[1]:.0f}%"
                    for point, work in zip(cost.points, works, strict=True)
                    if work
                ),
            ]
        )
    return markdown_table(head, rows) + f"\nSeconds grow with {cost.parameter}^{cost.exponent:.2f}.\n"


def interval_text(interval: Interval, form: Callable[[float], str]) -> str:
    """A median with its interval: "0.94 (0.93 to 0.96)"; marked as a range where the repeats are few."""
    mark = "" if interval.confidence >= LEAST_CONFIDENCE else ", range"
    return f"{form(interval.median)} ({form(interval.low)} to {form(interval.high)}{mark})"


def time_text(seconds: float) -> str:
    """A duration with three digits and its unit: "35.6 us", "2.40 s"."""
    size, unit = next(((size, unit) for size, unit in UNITS if abs(seconds) >= size), UNITS[-1])
    value = seconds / size
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, without the columns that are empty in all rows."""
    used = [i for i in range(len(head)) if any(row[i] != NONE for row in rows)]
    lines = [[row[i] for i in used] for row in (head, ["---"] * len(head), *rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _seconds_of(comparison: Comparison, side: str) -> str:
    if side in comparison.missing:
        return NOT_INSTALLED
    return time_text(median(comparison.sides[side].seconds)) if side in comparison.sides else NONE


def _relative(comparison: Comparison, other: str) -> str:
    if other not in comparison.sides:
        return NONE
    interval = comparison.relative(other)
    return interval_text(interval, time_text if comparison.relation == "difference" else "{:.2f}".format)


def _work(work: Work | None, seconds: float, reference: Reference) -> list[str]:
    """Cells of arithmetic, traffic and rate; of work without counted arithmetic only the traffic."""
    if not work:
        return [NONE] * 3
    share = work.gflop / seconds / reference[1]
    counted = [f"{work.gflop:.4g}", f"{100 * share:.0f}%"] if share > LEAST_SHARE else [NONE] * 2
    return [counted[0], f"{work.gbytes:.3g}", counted[1]]


def _number(side: Measured | None, name: str) -> str:
    value = getattr(side, name, None)
    return NONE if value is None else f"{value:.4g}"
