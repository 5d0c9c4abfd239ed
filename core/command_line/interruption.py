"""Interruption of long work by Ctrl-C or SIGTERM: at once, or between two steps."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM, which does what Ctrl-C does; only the exit code differs."""


def exit_code(interruption: BaseException) -> int:
    """Exit code of an interrupted command, 128 and the number of the signal: 143 for SIGTERM, else 130."""
    return 128 + (signal.SIGTERM if isinstance(interruption, Terminated) else signal.SIGINT)


class Interruption:
    """Whether work is to end after the current step. True once a signal has arrived."""

    def __init__(self) -> None:
        self.number: int | None = None  # of the signal

    def __bool__(self) -> bool:
        return self.number is not None

    def error(self) -> KeyboardInterrupt:
        """The exception to raise once the work is saved."""
        return _interrupt(self.number or signal.SIGINT)


@contextmanager
def catch_interrupts() -> Generator[Interruption, None, None]:
    """Context in which the first Ctrl-C (or SIGTERM) is only noted, so that a step can end and be saved.

    Yields the note. The second signal raises KeyboardInterrupt immediately.
    """
    interruption = Interruption()

    def note(number: int, frame: FrameType | None) -> None:
        if interruption:
            raise _interrupt(number)
        interruption.number = number

    with _handled(note, signal.SIGINT, signal.SIGTERM):
        yield interruption


@contextmanager
def catch_termination() -> Generator[None, None, None]:
    """Context in which SIGTERM raises `Terminated`, as Ctrl-C raises KeyboardInterrupt."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _interrupt(number)

    with _handled(stop, signal.SIGTERM):
        yield


def _interrupt(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def _handled(
    handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals
) -> Generator[None, None, None]:
    """Context with a handler of signals. Python has handlers in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
