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


OUTPUT = "output"  # key of safetensors metadata: prompt and seed of the run, as JSON
LONGEST_HEADER = 100_000_000  # bytes, as in safetensors
NOT_MADE = " was not made:"


def sha256_of(*paths: Path) -> str:
    """The sha256 of the contents of files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while part := file.read(2**20):
                digest.update(part)
    return digest.hexdigest()


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Names and sha256 of files: the value of "files" in their record. The main file is the first."""
    return {path.name: sha256_of(path) for path in files}


def made_by(files: OutputFiles) -> MadeBy | None:
    """Prompt and seed of the run that made an output, by its record; None without one."""
    if not _recorded(files):
        return None
    record = read_object(files.record) or {}
    prompt, seed = record.get("prompt"), record.get("seed")
    return MadeBy(prompt, seed) if isinstance(prompt, str) and isinstance(seed, int) else None


def foreign(files: OutputFiles) -> list[Path]:
    """Files under the names of an output that are not known to be of an earlier run of its command.

    None where all that are there are as the record lists them.
    """
    recorded = _recorded(files)
    known = [files.record] if recorded else []
    return [
        path
        for path in files.lasting
        if os.path.lexists(path)
        and path not in known
        and not (os.path.isfile(path) and recorded.get(path.name) == sha256_of(path))
    ]


def unchanged(files: OutputFiles) -> list[Path]:
    """Files that an earlier run has made under the names of an output, and that are as it wrote them."""
    recorded = _recorded(files)
    return [path for path in files.there if recorded.get(path.name) == sha256_of(path)]


def _recorded(files: OutputFiles) -> dict[str, str]:
    """Names and sha256 in the record of an output; none where it is that of another main file."""
    recorded = recorded_files(files.record)
    return recorded if next(iter(recorded), None) == files.main.name else {}


def recorded_files(record: Path) -> dict[str, str]:
    """Names and sha256 of the files in a record, the main one first; none where it is no record."""
    files: Any = (read_object(record) or {}).get("files")
    return {str(name): str(digest) for name, digest in files.items()} if isinstance(files, dict) else {}


def failure_text(files: OutputFiles, details: str) -> str:
    """The text of the file that says why an output was not made."""
    return f"{files.output.name}{NOT_MADE}\n{details}\n"


def checkpoint_metadata(made: MadeBy) -> dict[str, str]:
    """Metadata of a safetensors file, by which the checkpoint of an output is known."""
    return {OUTPUT: json.dumps(made._asdict())}


def checkpoint_of(files: OutputFiles) -> MadeBy | None:
    """Prompt and seed of the interrupted run whose checkpoint is there; None for other files, or none."""
    try:
        with files.checkpoint.open("rb") as file:  # as safetensors defines it, without importing torch
            size = int.from_bytes(file.read(8), "little")
            header: Any = json.loads(file.read(size)) if size <= LONGEST_HEADER else {}
        return MadeBy(**json.loads(header["__metadata__"][OUTPUT]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def foreign_passing(files: OutputFiles, made: MadeBy) -> list[Path]:
    """Files under the passing names of an output that are not of an earlier run of this prompt and seed.

    What killed runs have left is known to be cleared away.
    """
    found = [files.preview] if files.kind.preview and os.path.lexists(files.preview) else []
    if files.kind.checkpoint and os.path.lexists(files.checkpoint) and checkpoint_of(files) != made:
        found.append(files.checkpoint)
    if files.kind.batched and os.path.lexists(files.failure):
        try:
            with files.failure.open(encoding="utf-8") as file:
                known = file.readline().rstrip("\n").endswith(NOT_MADE)
        except (OSError, ValueError):
            known = False
        found += [] if known else [files.failure]
    return found


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object in a file; None where there is none."""
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
