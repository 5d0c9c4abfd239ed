"""Files under names that a command chooses, in a folder that a user names: a list says which it has made.

Sheets, reports and the like have no record of their own. They replace only what the folder's list has.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from core.errors import UserError
from core.io.atomic import atomic_write
from core.io.files.locks import lock, lock_folder
from core.io.files.record import read_object, sha256_of

LIST = ".dreamlift.json"  # in the folder: names, each with the sha256 of what may be there


@contextmanager
def own_files(folder: Path, names: Iterable[str], overwrite: bool) -> Generator[None, None, None]:
    """Context in which this process alone writes files of these names into a folder, by `write_listed`.

    overwrite: replace files of these names, whoever has made them.

    Raises UserError where the folder is not writable, another process writes there, or a file would be
    replaced that is not as an earlier run has left it.
    """
    with lock_folder(folder):
        made = _read(folder)
        for path in (folder / name for name in names):
            if path.is_dir():
                raise UserError(f"{path} is a folder, and a file is to go there: choose another folder.")
            known = path.is_file() and sha256_of(path) in made.get(path.name, ())
            if os.path.lexists(path) and not known and not overwrite:
                raise UserError(
                    f"{path} exists, and is not as an earlier run has left it: choose another folder, or "
                    "replace it with --overwrite."
                )
        yield


@contextmanager
def write_listed(path: Path) -> Generator[Path, None, None]:
    """As `atomic_write`. The folder's list has the file before it takes its name, so a kill loses neither."""
    with atomic_write(path) as draft:
        yield draft
        with lock(path.with_name(f"{LIST}.lock"), wait=True):
            made = _read(path.parent)
            made[path.name] = [sha256_of(each) for each in (draft, path) if each.is_file()]
            with atomic_write(path.with_name(LIST)) as text:
                text.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def _read(folder: Path) -> dict[str, list[str]]:
    """The list of a folder; an empty one where there is none, or another file."""
    made = read_object(folder / LIST) or {}
    return {name: digests for name, digests in made.items() if isinstance(digests, list)}
