"""The log of a run, `log.jsonl` in its folder: one line of JSON for the steps since the line before."""

import json
import os
from contextlib import suppress
from pathlib import Path

from core.errors import UserError
from core.io.atomic import WriteError, atomic_write

LOG = "log.jsonl"


def append(run: Path, line: dict[str, float]) -> None:
    """Appends a line, about steps up to its "step". Raises WriteError, and leaves no part of it."""
    path = run / LOG
    size = path.stat().st_size if path.is_file() else 0
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        with suppress(OSError):  # the part of the line that was written
            os.truncate(path, size)
        raise WriteError.of(path, error) from error


def read(run: Path) -> list[dict[str, float]]:
    """All lines; none when there is no log. A last one without its end was cut by a kill and is left out.

    Raises UserError for a line that is not an object with a step.
    """
    path = run / LOG
    text = path.read_bytes().decode(errors="replace") if path.is_file() else ""
    return [_parsed(path, number, line) for number, line in enumerate(text.split("\n")[:-1], 1)]


def _parsed(path: Path, number: int, line: str) -> dict[str, float]:
    try:
        values = json.loads(line)
        if type(values["step"]) is int:
            return values
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise UserError(f"Line {number} of {path} is damaged: delete that line, or start a new run folder.")


def truncate(run: Path, step: int) -> None:
    """Removes the lines after a step, whose steps are repeated by a run that resumes there."""
    if (run / LOG).is_file():
        valid = [line for line in read(run) if line["step"] <= step]
        with atomic_write(run / LOG) as draft:
            draft.write_text("".join(json.dumps(line) + "\n" for line in valid), encoding="utf-8")
