"""Interruption of long work between two steps."""

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def catch_interrupts() -> Generator[Callable[[], bool], None, None]:
    """Context in which the first Ctrl-C (or SIGTERM) only sets a flag, so that a step can end and be saved.

    Yields a function that returns the flag. The second signal raises KeyboardInterrupt immediately.
    """
    interrupted = False

    def handle(number: int, frame: object) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: interrupted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
