"""Atomic file writes: a file is either complete or absent."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from safetensors import SafetensorError

from core.errors import UserError
from core.io.paths import is_reserved

DRAFT_LETTERS = 20  # at most, that a temporary file's name is longer than the file's
LITTLE = 2**16  # bytes: a disk with less is full
WRITING = (OSError, SafetensorError)  # what writers raise


class WriteError(UserError):
    """A file cannot be written. path: its final name. reason: of the system, without a period."""

    def __init__(self, path: Path, reason: str, sentence: str | None = None) -> None:
        super().__init__(sentence or f"Cannot write {path}: {reason}.")
        self.path, self.reason = path, reason

    @classmethod
    def of(cls, path: Path, error: BaseException) -> "WriteError":
        """The error of writing a file that another error has ended."""
        if isinstance(error, OSError) and error.strerror:
            return cls(path, error.strerror)
        with suppress(OSError):  # encoders do not say why they could not write
            if shutil.disk_usage(path.parent).free < LITTLE:
                return cls(path, os.strerror(errno.ENOSPC))
        last = str(error).rstrip(".").rsplit(": ", 1)[-1]
        return cls(path, re.sub(r" \(os error \d+\)$", "", last) or type(error).__name__)


@contextmanager
def atomic_write(path: Path) -> Generator[Path, None, None]:
    """Context of an atomic write: yields a temporary path in the folder of `path`, with the same suffix.

    The temporary file replaces `path` when the block ends, and is deleted on an error. Its mode is that of
    the file that it replaces, or follows the umask. Raises WriteError where the block, or the system, cannot
    write it.
    """
    draft = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.draft{path.suffix}")  # see `find_drafts`
    try:
        descriptor = os.open(
            draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o666
        )
    except OSError as error:
        in_folder = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)
        raise _unwritable(path.parent, error) if in_folder else WriteError.of(path, error) from error
    mode = os.fstat(descriptor).st_mode
    os.close(descriptor)
    with suppress(OSError):
        mode = path.lstat().st_mode if path.is_file() and not path.is_symlink() else mode
    try:
        yield draft
        os.chmod(draft, mode & 0o7777)  # safetensors replaces the file by one that only the owner can read
        draft.replace(path)
    except WriteError as error:  # of a writer that writes the draft in this way, too
        if error.path == draft:
            raise WriteError(path, error.reason) from error
        raise
    except WRITING as error:
        raise WriteError.of(path, error) from error
    finally:
        with suppress(OSError):
            draft.unlink()


def find_drafts(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The temporary files of `atomic_write` in a folder, each with the file that it was to become.

    They are those of writes under way, and those that killed processes left.
    """
    if folder.is_dir():
        for entry in os.scandir(folder):
            if parts := re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.draft(\.[^.]*)?", entry.name):
                yield Path(entry.path), folder / f"{parts[1]}{parts[2] or ''}"


def sweep(folder: Path) -> None:
    """Deletes the temporary files in a folder, but those of outputs that other processes have locked."""
    locked = tuple(f"{name.split('.')[1]}." for name in os.listdir(folder) if name.endswith(".lock"))
    for draft, path in find_drafts(folder):
        if not path.name.startswith(locked):
            with suppress(OSError):
                draft.unlink()


def writable_folder(folder: Path) -> Path:
    """The folder, created if it is missing. Raises UserError unless a file can be written in it."""
    device = next(filter(is_reserved, folder.parts), None)
    if device and not folder.is_dir():
        raise UserError(
            f"Cannot create the folder {folder}: {device} is the name of a device on Windows, give another."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise _unwritable(folder, error) from error


def check_writable(folder: Path) -> None:
    """Raises UserError unless `writable_folder` could make the folder, as far as its rights tell."""
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise _unwritable(folder, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    if not os.access(there, os.W_OK | os.X_OK):
        raise _unwritable(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _unwritable(folder: Path, error: OSError) -> WriteError:
    """The error for a folder that is not writable."""
    file = next(
        (path for path in (folder, *folder.parents) if os.path.exists(path) and not path.is_dir()), None
    )
    reason = f"{file} is a file, give a folder" if file else error.strerror or type(error).__name__
    return WriteError(folder, reason, f"Cannot write into the folder {folder}: {reason}.")
