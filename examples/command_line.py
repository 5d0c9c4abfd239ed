"""What the commands of the examples share: whole numbers with a lower limit, and errors in one sentence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from core.errors import UserError
from core.io.atomic import writable_folder


def at_least(lowest: int) -> Callable[[str], int]:
    """The `type` of an argument of argparse: a whole number of at least `lowest`, 0 or more."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {lowest}")
        return int(text)

    return read


@contextmanager
def exit_on_user_error(*outputs: Path | None) -> Generator[None]:
    """Ends the process with exit code 2 after a UserError, whose sentence goes to standard error.

    outputs: files to be written, whose folders must be writable before the work begins; None for no file.
    """
    try:
        for path in filter(None, outputs):
            writable_folder(path.parent)
        yield
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
