"""Atomic file writes: a file is either complete or absent."""

import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from core.errors import UserError

DRAFT_LETTERS = 20  # at most, that a temporary file's name is longer than the file's


@contextmanager
def atomic_write(path: Path) -> Generator[Path, None, None]:
    """Context of an atomic write: yields a temporary path in the folder of `path`, with the same suffix.

    The temporary file replaces `path` when the block ends, and is deleted on an error. Raises UserError when
    the folder of `path` is not writable.
    """
    draft = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")  # as `find_drafts` reads it
    try:
        draft.touch()
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def find_drafts(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The temporary files of `atomic_write` in a folder, each with the file that it was to become.

    They are those of writes under way, and those that killed processes left.
    """
    if folder.is_dir():
        for entry in os.scandir(folder):
            if parts := re.fullmatch(r"\.(.+)-\d+(\.[^.]*)?", entry.name):
                yield Path(entry.path), folder / f"{parts[1]}{parts[2] or ''}"


def writable_folder(folder: Path) -> Path:
    """The folder, created if it is missing. Raises UserError unless a file can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> UserError:
    """The error for a folder that is not writable."""
    file = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if file:
        return UserError(f"Cannot write into the folder {folder}: {file} is a file, give a folder.")
    return UserError(f"Cannot write into the folder {folder}: {error.strerror}.")
