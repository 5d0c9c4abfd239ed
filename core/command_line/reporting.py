"""How a command reports: in words, by the paths of the files alone (--quiet), or as JSON objects (--json)."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Console

from core.command_line.printing import make_console
from core.errors import UserError
from core.notice import Notice


class Report(Enum):
    """The forms of reports. Errors are sentences on stderr in each."""

    WORDS = "words"
    PATHS = "paths"  # on stdout; nothing else is printed
    JSON = "json"  # on stdout; words and progress are on stderr


_report: ContextVar[Report] = ContextVar("report", default=Report.WORDS)


@contextmanager
def report_as(*, quiet: bool, as_json: bool) -> Generator[None, None, None]:
    """Context in which a command reports by its options --quiet and --json. Raises UserError for both."""
    if quiet and as_json:
        raise UserError("--quiet and --json exclude each other: give one of them.")
    token = _report.set(Report.PATHS if quiet else Report.JSON if as_json else Report.WORDS)
    with ExitStack() as filters:
        if quiet:
            filters.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", Notice)
        try:
            yield
        finally:
            _report.reset(token)


def status_console() -> Console:
    """Console on stderr for what is no result; --quiet prints none of it."""
    console = make_console(stderr=True)
    console.quiet = _report.get() is Report.PATHS
    return console


def say(sentence: str) -> None:
    """Prints a sentence that is no result, see `status_console`."""
    status_console().print(sentence)


def report_made(
    files: Sequence[Path], sentence: str, facts: Mapping[str, Any], console: Console | None = None
) -> None:
    """Reports files that were made: in words, or on stdout as the path of the main one or a JSON object.

    files: the main one first. sentence: about them, without the path. facts: JSON values.
    console: for words; stdout unless given.
    """
    match _report.get():
        case Report.PATHS:
            _print(str(files[0]))
        case Report.JSON:
            print_object({"file": str(files[0]), **facts, "files": [str(file) for file in files]})
        case Report.WORDS:
            (console or make_console()).print(f"{files[0]}: {sentence}")


def print_object(values: Mapping[str, Any]) -> None:
    """Prints a JSON object on a line of stdout."""
    _print(json.dumps(values, ensure_ascii=False))


def report_form() -> Report:
    """The form in which the command reports."""
    return _report.get()


def _print(line: str) -> None:
    print(line, file=sys.stdout, flush=True)  # a reader gets it when the file is there
