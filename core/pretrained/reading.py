"""Files of checkpoints: their JSON, and what libraries raise over them as sentences. Imports no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import UserError

AGAIN = "If files are missing or damaged, download the checkpoint again."
_SHAPES = re.compile(r"because (\S+) expected shape torch\.Size\((.+?)\), but got torch\.Size\((.+?)\)")


def read_config(path: Path) -> dict[str, Any]:
    """Object in a JSON file. Raises UserError when it cannot be read, or is not a JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged (not JSON): download the checkpoint again.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged (not a JSON object): download the checkpoint again.")
    return values


@contextmanager
def reading(path: Path) -> Generator[None, None, None]:
    """Makes UserErrors of what libraries raise over the files at a path. They may raise anything."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
            raise
        if shapes := _SHAPES.search(str(error)):
            raise misfit(path, *shapes.groups()) from error
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        raise UserError(f"Cannot read the checkpoint {path}: {kind}{first_line(error)}. {AGAIN}") from error


def misfit(path: Path, name: str, needed: object, stored: object) -> UserError:
    """The error for a weight whose stored shape is not the one that its network needs."""
    return UserError(
        f"The weight {name} in {path} does not fit its config: its shape is {stored}, not {needed}. {AGAIN}"
    )


def first_line(error: Exception) -> str:
    """First line of an error's message, without its final period, for use within a sentence."""
    return str(error).strip().splitlines()[0].rstrip(".:") if str(error).strip() else type(error).__name__
