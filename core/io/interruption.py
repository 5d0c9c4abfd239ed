"""Stopping long work between two steps."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def catch_interrupts() -> Iterator[Callable[[], bool]]:
    """Within: the first Ctrl-C (or SIGTERM) is only noted, for the step to end and the work to be saved.

    Yields whether it has come. The second one interrupts at once.
    """
    noted = False

    def note(number: int, frame: object) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
