"""Progress of long work: the progress bar of the commands, and the timing of previews."""

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY = 30.0  # s, of a log


def make_progress(console: Console) -> Progress:
    """Progress with the time left: a bar, removed at the end, or lines where `console` is no terminal."""
    if not console.is_terminal or console.is_dumb_terminal:
        return ProgressLines(console)
    description = TextColumn("{task.description}", markup=False)  # the name of a file
    columns = description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # What is printed on stdout stays there unless both are one terminal.
    shared = sys.stdout.isatty()
    return Progress(*columns, console=console, transient=True, disable=console.quiet, redirect_stdout=shared)


class ProgressLines(Progress):
    """Progress for logs: a line every `LINE_EVERY` seconds, in plain text."""

    def __init__(self, console: Console) -> None:
        super().__init__(console=console, disable=True, speed_estimate_period=600)  # steps may be slow
        self.printed = time.perf_counter()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """As in rich; prints a line where one is due."""
        super().update(task_id, **changes)
        self._print(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As in rich; prints a line where one is due."""
        super().advance(task_id, advance)
        self._print(task_id)

    def _print(self, task_id: TaskID) -> None:
        if time.perf_counter() - self.printed < LINE_EVERY:
            return
        self.printed = time.perf_counter()
        task = next(task for task in self.tasks if task.id == task_id)
        left = "" if task.time_remaining is None else f", {duration(task.time_remaining)} left"
        self.console.print(f"{task.description}: {task.completed:g} of {task.total:g}{left}")


def duration(seconds: float) -> str:
    """A duration in words, such as "12 s", "5 min" or "3 h"."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds > 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, seconds):.0f} s"


class PreviewTimer:
    """Timer of previews, used as a context around each preview.

    The next preview is due `every` seconds after the last one, or later if the last one was slow: after
    `cost` times its duration.
    """

    def __init__(self, every: float, cost: float = 10.0) -> None:
        self.every, self.cost = every, cost
        self.pause = every
        self.shown = self.started = time.perf_counter()

    @property
    def due(self) -> bool:
        """Whether enough time has passed since the last preview."""
        return time.perf_counter() - self.shown > self.pause

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.shown = time.perf_counter()
        self.pause = max(self.every, self.cost * (self.shown - self.started))
