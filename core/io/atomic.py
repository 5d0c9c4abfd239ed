"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from core.errors import UserError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A draft beside `path`, of the same suffix; when the block ends it becomes `path`, on error it vanishes.

    Raises UserError when nothing can be written in the folder of `path`.
    """
    draft = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        draft.touch()
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def writable_folder(folder: Path) -> Path:
    """The folder, made where it is missing. Raises UserError unless a file can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"Cannot write into the folder {folder}: {error.strerror}.")
