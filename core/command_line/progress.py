"""Progress of long work: the progress bar of the commands, and the timing of previews."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def make_progress(console: Console) -> Progress:
    """Progress bar with the time left; removed at the end, and disabled unless `console` is a terminal."""
    description = TextColumn("{task.description}", markup=False)  # the name of a file
    columns = description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


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
