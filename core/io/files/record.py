"""Which files a run has made, by its record: names with sha256. What has changed since is the user's."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from core.io.files.names import OutputFiles


class MadeBy(NamedTuple):
    """Prompt and seed that an output was made of."""

    prompt: str
    seed: int


def sha256_of(path: Path) -> str:
    """The sha256 of a file's contents."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Names and sha256 of files: the value of "files" in their record. The main file is the first."""
    return {path.name: sha256_of(path) for path in files}


def made_by(files: OutputFiles) -> MadeBy | None:
    """Prompt and seed of the run that made an output, by its record; None without one."""
    record = _read(files)
    return MadeBy(str(record.get("prompt")), int(record.get("seed", -1))) if record else None


def foreign(files: OutputFiles) -> list[Path]:
    """Files under the names of an output that are not known to be of an earlier run of its command.

    None where all that are there are as the record lists them.
    """
    recorded = (_read(files) or {}).get("files", {})
    known = [files.record] if recorded else []
    return [
        path
        for path in files.lasting
        if os.path.lexists(path)
        and path not in known
        and not (os.path.isfile(path) and recorded.get(path.name) == sha256_of(path))
    ]


def _read(files: OutputFiles) -> dict[str, Any] | None:
    """The record of an output; None where there is none, or that of another main file."""
    try:
        record: Any = json.loads(files.record.read_text(encoding="utf-8"))
        return record if next(iter(record["files"].keys())) == files.output.name else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return None
