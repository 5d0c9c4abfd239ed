"""Runs a suite: its rows in turn, with progress, the machine's rates and the load before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from statistics import median

from rich.console import Console

from core.command_line.progress import make_progress
from core.errors import UserError
from core.io.resources import GIB, free_memory, gib
from core.machine_rates import best_rates, measure_rates
from dreamlift.bench.environment import environment, load
from dreamlift.bench.plan import Row, Settings
from dreamlift.bench.results import BenchResult, Comparison, Cost, Parts, Rates, Suite
from dreamlift.bench.tables import time_text


def rows_of(suite: Suite) -> list[Row]:
    """The rows of a suite, from its module."""
    rows: Callable[[], list[Row]] = import_module(f"dreamlift.bench.suites.{suite}").rows
    return rows()


def run_rows(
    suite: Suite, rows: Sequence[Row], settings: Settings, console: Console, command: str
) -> BenchResult:
    """Measures the rates of the machine and all rows; prints a line for each row when it is measured."""
    before = load()
    seconds = 0.05 if settings.quick else 0.5
    rates = measure_rates(settings.device, seconds)
    measured: list[Comparison | Cost | Parts] = []
    not_run: dict[str, str] = {}
    with make_progress(console) as progress:
        task = progress.add_task(f"bench {suite}", total=len(rows))
        for row in rows:
            progress.update(task, description=row.title)
            try:
                _check_memory(row, settings)
                measured.append(row.measure(settings))
                console.print(f"{row.title}: {summary(measured[-1])}")
            except UserError as error:  # the other rows can do without this one
                not_run[row.title] = str(error)
                console.print(f"{row.title}: not run. {error}")
            progress.advance(task)
    rates = best_rates(rates, measure_rates(settings.device, seconds))
    return BenchResult(
        suite=suite,
        command=command,
        quick=settings.quick,
        environment=environment(settings.device, before),
        rates=Rates(**rates._asdict()),
        comparisons=[each for each in measured if isinstance(each, Comparison)],
        costs=[each for each in measured if isinstance(each, Cost)],
        parts=[each for each in measured if isinstance(each, Parts)],
        not_run=not_run,
    )


def _check_memory(row: Row, settings: Settings) -> None:
    """Raises UserError where a row takes more memory than is free."""
    if settings.quick or (free := free_memory()) >= row.memory * GIB:
        return
    raise UserError(f"It takes {row.memory} GiB of memory, of which {gib(free)} are free: give --quick.")


def summary(measured: Comparison | Cost | Parts) -> str:
    """A measured row in a few words."""
    match measured:
        case Comparison():
            seconds = [f"{name} {time_text(median(side.seconds))}" for name, side in measured.sides.items()]
            missing = [f"{name} not installed" for name in measured.missing]
            return ", ".join([*seconds, *missing]) + f" per {measured.per}"
        case Cost():
            return f"seconds grow with {measured.parameter}^{measured.exponent:.2f}"
        case Parts():
            shares = [f"{name} {100 * measured.share(name):.0f}%" for name in measured.parts]
            return ", ".join(shares)
