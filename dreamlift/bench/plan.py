"""How a suite is measured: its settings, its rows, and the comparison that most rows are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from core.io.machine import busy_time
from dreamlift.bench.results import Comparison, Cost, CostPoint, Measured, Parts, Relation, Work
from dreamlift.bench.rounds import Side, in_turn
from dreamlift.bench.worker import Worker

LEAST_REPEATS = 5
QUICK_REPEATS = 2


class Settings(NamedTuple):
    """Settings of one run of a suite."""

    device: torch.device
    folder: Path  # for temporary files
    repeats: int = LEAST_REPEATS
    quick: bool = False  # small sizes
    peers: bool = True  # compare with them

    @property
    def many(self) -> int:
        """Repeats of work that takes milliseconds."""
        return self.repeats if self.quick else 4 * self.repeats + 1

    @property
    def threads(self) -> int:
        """Threads of torch on a CPU."""
        return torch.get_num_threads()


class Row(NamedTuple):
    """A row of a suite: its title, what measures it, and the memory in GiB that this takes at full size."""

    title: str
    measure: Callable[[Settings], Comparison | Cost | Parts]
    memory: int = 0


def timed(run: Callable[[], object], device: torch.device) -> Side:
    """A side that does some work in this process and returns its seconds."""

    def side() -> float:
        start = busy_time(device)
        run()
        return busy_time(device) - start

    return side


def compare(
    table: str,
    name: str,
    sides: Mapping[str, Side | None],
    repeats: int,
    *,
    per: str,
    work: Mapping[str, Work] | None = None,
    relation: Relation = "ratio",
) -> Comparison:
    """Measures sides in turn, after one uncounted call of each. A side that is None is not installed.

    work: of one repeat, by side.
    """
    present = {name: side for name, side in sides.items() if side}
    for side in present.values():
        if not isinstance(side, Worker):  # which has been called once
            side()
    seconds = in_turn(present, repeats)
    measured = {
        name: Measured(seconds=seconds[name], peak_gb=side.peak_gb, output=side.output)
        if isinstance(side, Worker)
        else Measured(seconds=seconds[name])
        for name, side in present.items()
    }
    missing = [name for name, side in sides.items() if side is None]
    return Comparison(
        table=table,
        name=name,
        per=per,
        sides=measured,
        missing=missing,
        work=dict(work or {}),
        relation=relation,
    )


def grow(
    name: str,
    parameter: str,
    runs: Mapping[int, Callable[[], object]],
    settings: Settings,
    count: Callable[[Callable[[], object]], Work] | None = None,
) -> Cost:
    """Measures how the seconds of runs grow with a parameter: all values in turn, `settings.repeats` times.

    count: counts the work of a run.
    """
    sides = {str(value): timed(run, settings.device) for value, run in runs.items()}
    for side in sides.values():
        side()
    seconds = in_turn(sides, settings.repeats)
    points = [
        CostPoint(value=value, seconds=seconds[str(value)], work=count(run) if count else None)
        for value, run in runs.items()
    ]
    return Cost(name=name, parameter=parameter, points=points)


def add_up(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Values by name and repeat of repeats by name."""
    return {name: [row[name] for row in rows] for name in rows[0]}
