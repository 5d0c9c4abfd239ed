"""Whether a run has made the files that a record names once more, and what differs where it has not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from core.errors import UserError
from core.io.files.names import OutputKind

Record = TypeVar("Record")
NAMED_INSIDE = (".obj", ".mtl", ".html")  # files in which names of files stand


def read_record_of(path: Path, read: Callable[[Path], Record | None], command: str) -> Record:
    """The record to be replayed. Raises UserError for a file that is no record of the command."""
    record = read(path) if path.is_file() else None
    if record is None:
        raise UserError(f"{path} is no record of {command}: give the .{command}.json beside an output.")
    return record


def replay_name(files: Mapping[str, str], path: Path, kind: OutputKind) -> str:
    """Name of the main file of a replay: fox.mp4 becomes fox-replay.mp4. Raises UserError without a file."""
    if not files:
        raise UserError(f"The record {path} names no files that could be made again.")
    main = Path(kind.output_of(next(iter(files))))
    return f"{main.stem}-replay{main.suffix}"


def other_files(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Names of new files whose sha256 differs from that of the file in their place.

    before, after: names and sha256 in the order in which a run writes its files.
    """
    pairs = zip(before.values(), after.items(), strict=False)
    return [name for old, (name, new) in pairs if old != new and not name.lower().endswith(NAMED_INSIDE)]


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """What two runs differ in, by name, for a sentence; empty if in nothing."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(f"{name} {before.get(name, '-')} then, {after.get(name, '-')} now" for name in names)


def report(path: Path, output: Path, others: list[str], differing: str) -> bool:
    """Prints the sentence about a replay to stderr; returns whether the bytes are the same.

    others: see `other_files`; differing: see `differences`.
    """
    why = f": {differing}" if differing else ": nothing that the record knows of has changed"
    sentence = (
        f"other bytes than the files of {path}{why}" if others else f"the same bytes as the files of {path}"
    )
    print(f"{output}: {sentence}.", file=sys.stderr)
    return not others
