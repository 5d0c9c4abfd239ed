"""The files of one output, which appear together: drafted in a hidden folder, and named when all are there.

The record is written last, and takes its name last. A draft folder with a record is therefore complete, and
the next run gives its files their names, if the process was killed before it could.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import UserError
from core.io.atomic import WRITING, WriteError, find_drafts
from core.io.files.locks import lock
from core.io.files.names import OutputFiles, OutputKind
from core.io.files.record import digests, foreign, read_object, recorded_files, sha256_of, unchanged

REPLACED = ".replaced"  # in a draft folder: names and sha256 of files of others that may be replaced


@contextmanager
def draft_output(
    files: OutputFiles, may_replace: Collection[Path] = ()
) -> Generator[OutputFiles, None, None]:
    """Context in which an output is written: yields the same files in a draft folder next to them.

    When the block ends, all files that are in the folder take their names, the record last. Nothing takes its
    name on an error.

    may_replace: files that are replaced although the record does not list them.

    Raises WriteError, with the final name, for what cannot be written. Raises UserError where a file of
    others has appeared under one of the names; the output is then kept in a folder of its own.
    """
    folder = files.output.parent
    drafts = folder / f".{files.record.stem}.{secrets.token_hex(4)}.draft"
    complete = False
    try:
        drafts.mkdir()
        yield OutputFiles(files.kind, drafts / files.output.name)
        _check(drafts, files, may_replace)
        complete = True
        _publish(drafts, files)
        drafts.rmdir()
    except WriteError as error:
        inside = error.path.parent == drafts
        raise WriteError(folder / error.path.name if inside else error.path, error.reason) from error
    except WRITING as error:
        raise WriteError.of(files.output, error) from error
    finally:
        if not complete:  # else the next run completes it
            shutil.rmtree(drafts, ignore_errors=True)


@contextmanager
def claim(files: OutputFiles, wait: bool, left: bool = False) -> Generator[bool, None, None]:
    """Locks an output, if possible, and yields whether it is locked. wait: until it is.

    What a killed run has left of the output is cleared away, or completed. left: look for it even where that
    run's lock is gone.
    """
    left = left or files.lock.exists()
    with lock(files.lock, wait) as mine:
        if mine and left:
            _recover(files)
        yield mine


def recover_all(folder: Path, kind: OutputKind) -> None:
    """Clears away, or completes, what killed runs have left of outputs of a kind in a folder."""
    hidden = re.compile(rf"\.(.+)\.{re.escape(kind.command)}\.(lock|[0-9a-f]{{8}}\.draft)")
    with suppress(OSError):
        names = [parts[1] for name in os.listdir(folder) if (parts := hidden.fullmatch(name))]
        for name in dict.fromkeys(names):
            with claim(kind.files(folder / f"{name}{kind.extensions[0]}"), wait=False, left=True):
                pass


def busy(files: OutputFiles) -> UserError:
    """The error for an output that another process is making."""
    return UserError(f"Another process is making {files.output}: wait for it, or choose another name.")


def _check(drafts: Path, files: OutputFiles, may_replace: Collection[Path]) -> None:
    """Raises UserError where names are those of others' files by now; notes those that may be replaced."""
    found = foreign(files)
    if others := [path for path in found if path not in may_replace]:
        raise UserError(
            f"{others[0]} has appeared, or was changed, while {files.output} was made, which is kept in "
            f"{_keep(drafts, files)}."
        )
    if found:
        (drafts / REPLACED).write_text(json.dumps(digests(filter(Path.is_file, found))), encoding="utf-8")


def _publish(drafts: Path, files: OutputFiles) -> None:
    """Gives the files of a draft folder their names: companions, the main file, the record.

    What an earlier run has made under the name, and this one has not, is deleted.
    """
    folder = files.output.parent
    for path in unchanged(files):
        if not (drafts / path.name).exists():
            path.unlink()
    last = {files.main.name: 1, files.record.name: 2}
    named = [path for path in drafts.iterdir() if path.name != REPLACED]
    for draft in sorted(named, key=lambda path: (last.get(path.name, 0), path.name)):
        path = folder / draft.name
        with suppress(OSError):
            os.chmod(draft, path.stat().st_mode & 0o7777)
        draft.replace(path)
    (drafts / REPLACED).unlink(missing_ok=True)


def _keep(drafts: Path, files: OutputFiles) -> Path:
    """Renames a draft folder so that it stays; returns its new name."""
    number = 1
    while os.path.lexists(kept := files.beside(f".{files.kind.command}.kept-{number}")):
        number += 1
    return drafts.rename(kept)


def _recover(files: OutputFiles) -> None:
    """Completes or deletes what a killed run has left of an output. The caller holds the lock."""
    folder, name = files.output.parent, re.escape(files.record.stem)
    for entry in list(folder.iterdir()):
        if re.fullmatch(rf"\.{name}\.[0-9a-f]{{8}}\.draft", entry.name) and entry.is_dir():
            _complete(entry, files)
    for draft, path in find_drafts(folder):
        if path in files.passing:
            draft.unlink(missing_ok=True)
    if files.kind.preview:
        files.preview.unlink(missing_ok=True)
    with suppress(OSError):  # killed between the record and the end
        if files.kind.checkpoint and files.record.stat().st_mtime >= files.checkpoint.stat().st_mtime:
            files.checkpoint.unlink()


def _complete(drafts: Path, files: OutputFiles) -> None:
    """Gives the files of a complete draft folder their names, unless others have them; deletes the folder."""
    if listed := recorded_files(drafts / files.record.name):
        output = files.kind.files(files.output.with_name(files.kind.output_of(next(iter(listed)))))
        replaced = read_object(drafts / REPLACED) or {}
        may_be = {path: (listed.get(path.name), replaced.get(path.name)) for path in foreign(output)}
        if all(path.is_file() and sha256_of(path) in possible for path, possible in may_be.items()):
            with suppress(OSError):
                _publish(drafts, output)
    shutil.rmtree(drafts, ignore_errors=True)
