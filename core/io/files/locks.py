"""Locks of outputs and folders. They end with their process, and no file of a lock stays behind."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import UserError
from core.io.atomic import WriteError, sweep, writable_folder

FOLDER_LOCK = ".dreamlift.lock"  # in a folder that one process writes


@contextmanager
def lock(path: Path, wait: bool) -> Generator[bool, None, None]:
    """Locks by a file of this name, if possible; yields whether it is locked. wait: until it is.

    The file is deleted while the lock is held. A process that has opened the deleted file finds that it has
    no name any more, and opens the next one.

    Raises WriteError where no file can be made.
    """
    from filelock import FileLock, Timeout  # with asyncio's parts; not loaded for --help

    held = FileLock(path)
    try:
        try:
            held.acquire(timeout=-1 if wait else 0)
        except Timeout:
            pass
        except OSError as error:
            raise WriteError.of(path, error) from error
        yield held.is_locked
    finally:
        if held.is_locked:
            with suppress(OSError):  # Windows keeps a file that is open; the next run removes it
                path.unlink()
            held.release()


@contextmanager
def lock_folder(folder: Path) -> Generator[None, None, None]:
    """Locks a folder that one process writes, and deletes the drafts that killed processes have left in it.

    The folder is created if it is missing, and deleted again if nothing was written into it.

    Raises UserError while another process writes there.
    """
    new = not folder.exists()
    writable_folder(folder)
    try:
        with lock(folder / FOLDER_LOCK, wait=False) as mine:
            if not mine:
                raise UserError(
                    f"Another process is writing into {folder}: wait for it, or choose another folder."
                )
            sweep(folder)
            yield
    finally:
        if new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
