"""Sentences for the user that stop nothing: warnings in Python, single lines on stderr in the commands."""

import re
import sys
import warnings
from typing import TextIO


class Notice(UserWarning):
    """A sentence about what was done with the input, such as a prompt that was cut."""


def notice(sentence: str) -> None:
    """Tells the user a sentence, on one line whatever line breaks it quotes; a process tells it once."""
    warnings.warn(re.sub(r"\s+", " ", sentence), Notice, stacklevel=3)


def print_notices() -> None:
    """Makes notices single lines on stderr from now on, for commands; other warnings stay as they are."""
    others = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, Notice):
            print(message, file=file or sys.stderr)
        else:
            others(message, category, filename, lineno, file, line)

    warnings.simplefilter("once", Notice)
    warnings.showwarning = show
