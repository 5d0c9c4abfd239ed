"""The outputs of a run, planned before its work: their prompts, seeds and files, and what may be replaced.

No file is replaced that is not known to be of an earlier run. Automatic names are numbered past those that
exist.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple

from core.errors import UserError
from core.io.atomic import DRAFT_LETTERS, check_writable, writable_folder
from core.io.files.names import OutputFiles, OutputKind, slug
from core.io.files.output_set import busy, recover_all
from core.io.files.record import MadeBy, checkpoint_of, foreign, foreign_passing, made_by
from core.io.paths import is_reserved, read_path

MOST = 100_000  # outputs of one run
NAME_BYTES = 255  # of a file's name, where the file system does not say


class PlannedOutput(NamedTuple):
    """One output to make: its prompt, seed and main file."""

    prompt: str
    seed: int
    file: Path


class OutputRequest(NamedTuple):
    """What outputs are asked for. seed, name: where the prompt has its own; a name has no folder."""

    prompt: str
    seed: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class Replacing:
    """What a run may replace.

    overwrite: whatever has the name of an output. again: outputs of the same prompts and seeds keep their
    names, so that the run finds what an earlier one has made. resume: so do those with a checkpoint, before
    others. inputs: files that the run reads.
    """

    overwrite: bool = False
    again: bool = False
    resume: bool = False
    inputs: tuple[Path, ...] = ()
    dry: bool = False


NOTHING = Replacing()  # but what an earlier run has made


def plan_outputs(
    requests: Sequence[OutputRequest],
    num: int,
    seed: int,
    out: str | None,
    kind: OutputKind,
    replacing: Replacing = NOTHING,
) -> list[PlannedOutput]:
    """The planned outputs: `num` for each request, with the seeds seed, seed + 1, ..., seed + num - 1.

    out: a file with one of the kind's extensions, or a folder (an existing one, or a name that ends in "/").
        Files in a folder have the first extension and are named after the prompts. None is the current
        folder. A name that occurs again within the plan gets the suffix -2, -3, ...

    Raises UserError for counts and seeds out of range, another extension, a folder that is not writable, and
    for files that the outputs would replace.
    """
    check_count(num, len(requests), kind.word)
    first = [seed if request.seed is None else request.seed for request in requests]
    for number in (seed, *first):
        if not 0 <= number <= 2**63 - num:
            raise UserError(f"--seed cannot be {number}: a seed is a whole number from 0 to 2^63 - 1.")
    folder, given = output_place(out)
    in_folder, whole = given is None, given or Path(kind.extensions[0])
    if not replacing.dry:
        recover_all(folder, kind)
    names, read = _Names(), _identities(replacing.inputs)
    planned: list[PlannedOutput] = []
    for row, request in enumerate(requests):
        stem, extension = _split(request, whole, in_folder, kind)
        automatic = in_folder and request.name is None
        for number in range(first[row], first[row] + num):
            made = MadeBy(request.prompt, number)
            possible = (kind.files(folder / f"{name}{extension}") for name in names.of(stem))
            files = _choose(possible, made, replacing) if automatic else next(possible)
            names.take(files.output.stem)
            planned.append(PlannedOutput(*made, files.output))
            check_names(files)
            _check_inputs(files, read)
            if not automatic:
                _check_replaced(files, made, replacing)
    (check_writable if replacing.dry else writable_folder)(folder)
    return planned


def check_count(num: int, requests: int, word: str) -> None:
    """Raises UserError for a number of outputs of each request that is out of range. word: for an output."""
    if num < 1:
        raise UserError(f"--num cannot be {num}: there must be at least one {word}.")
    if num * requests > MOST:
        count = "--num" if requests == 1 else f"--num with {requests} prompts"
        raise UserError(f"{count} cannot be {num}: one run makes at most {MOST:,} {word}s.")


def output_place(out: str | None) -> tuple[Path, Path | None]:
    """The folder of the outputs that `plan_outputs` plans, and the file that `out` names, if any."""
    path = Path(".") if out is None else read_path(out, "--out")
    if os.path.isdir(path) or (out or "").endswith(("/", os.sep)):
        return path, None
    return path.parent, path


class _Names:
    """Names of a plan, each once: a stem, then stem-2, stem-3, ... File systems may not tell cases apart."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.first: dict[str, int] = {}  # number of the first name of a stem that is not taken

    def of(self, stem: str) -> Iterator[str]:
        """Names of the stem that are not taken."""
        for number in count(self.first.get(stem, 1)):
            name = stem if number == 1 else f"{stem}-{number}"
            if name.casefold() not in self.taken:
                yield name
            elif number == self.first.get(stem, 1):
                self.first[stem] = number + 1

    def take(self, name: str) -> None:
        """Takes a name."""
        self.taken.add(name.casefold())


def _split(request: OutputRequest, path: Path, in_folder: bool, kind: OutputKind) -> tuple[str, str]:
    """Stem and extension of a request's main file. Raises UserError for another extension, or a folder."""
    stem, extension = (slug(request.prompt), path.name) if in_folder else (path.stem, path.suffix)
    if request.name is not None:
        if request.name in (".", "..") or re.search(r"[/\\]", request.name):
            raise UserError(f"Cannot write the {kind.word} as {request.name}: give a name without a folder.")
        stem, ending = os.path.splitext(request.name)
        extension = ending or extension
    if extension.lower() not in kind.extensions:
        known = " or ".join(filter(None, [", ".join(kind.extensions[:-1]), kind.extensions[-1]]))
        raise UserError(f"Cannot write the {kind.word} as {stem}{extension}: its name must end in {known}.")
    return stem, extension


def _choose(possible: Iterator[OutputFiles], made: MadeBy, replacing: Replacing) -> OutputFiles:
    """The first of the automatic names that can be taken; to resume, one with a checkpoint of that output."""
    free: OutputFiles | None = None
    for files in possible:
        there = any(map(os.path.lexists, [*files.lasting, *files.passing]))
        if replacing.resume and files.kind.checkpoint and checkpoint_of(files) == made:
            return files
        if free is None and _is_free(files, made, replacing):
            free = files
        if free and not (replacing.resume and there):
            return free
    raise AssertionError("there are always more names")


def _is_free(files: OutputFiles, made: MadeBy, replacing: Replacing) -> bool:
    """Whether an automatic name can be taken."""
    if replacing.again and (made_by(files) == made or files.lock.exists()):
        return True
    there = any(map(os.path.lexists, [*files.lasting, files.lock]))
    return not there and not foreign_passing(files, made)


def _check_replaced(files: OutputFiles, made: MadeBy, replacing: Replacing) -> None:
    """Raises UserError where a given name would replace what it may not, or another process makes it."""
    known = replacing.again or replacing.dry  # else what killed runs have left is cleared away by now
    if files.lock.exists() and not known:
        raise busy(files)
    for path in files.lasting:
        if os.path.isdir(path):
            raise UserError(f"{path} is a folder, and a file is to go there: choose another --out.")
    if not replacing.overwrite and (others := _foreign_at_rest(files)):
        raise UserError(
            f"{not_ours(others[0], files)}: choose another --out, or replace it with --overwrite."
        )
    if not replacing.overwrite and not replacing.resume and (others := _foreign_passing_at_rest(files, made)):
        raise UserError(
            f"{others[0]} exists, and is not of an earlier run of this prompt and seed: choose another "
            "--out, or replace it with --overwrite."
        )


def _foreign_at_rest(files: OutputFiles) -> list[Path]:
    """As `foreign`, but none while another process writes the output, whose record comes last."""
    if not foreign(files) or files.lock.exists():
        return []
    return foreign(files)  # the record may have been written since


def _foreign_passing_at_rest(files: OutputFiles, made: MadeBy) -> list[Path]:
    """As `foreign_passing`, but none while another process makes the output, whose preview is there."""
    if not foreign_passing(files, made) or files.lock.exists():
        return []
    return foreign_passing(files, made)  # they may have been cleared away since


def not_ours(path: Path, files: OutputFiles) -> str:
    """Part of a sentence: why a file is not replaced."""
    return f"{path} exists, and {files.record.name} does not list it as made by this command"


def check_names(files: OutputFiles) -> None:
    """Raises UserError for names that are too long for the file system or have control characters."""
    try:
        most = os.pathconf(files.output.parent, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):  # a folder that is not there yet, or Windows
        most = NAME_BYTES
    for path in [*files.lasting, *files.passing]:
        if is_reserved(path.name):
            raise UserError(f"Cannot write {path.name}, a name of a device on Windows: choose another --out.")
        if not path.name.isprintable():
            raise UserError(f"Cannot write a file called {path.name!r}: it has control characters.")
        excess = len(os.fsencode(path.name)) + DRAFT_LETTERS - most
        if excess > 0:
            raise UserError(f"The name {path.name} is too long: shorten --out by {excess} letters.")


def _check_inputs(files: OutputFiles, read: Mapping[tuple[int, int], Path]) -> None:
    """Raises UserError where a file of an output is one that the run reads, by whatever name or link."""
    for each in _identities([*files.lasting, *files.passing]) if read else ():
        if each in read:
            raise UserError(
                f"{read[each]} is read by this run, which would replace it: choose another --out."
            )


def _identities(paths: Iterable[Path]) -> dict[tuple[int, int], Path]:
    """The files that are there, by what is the same under all names and links of a file."""
    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        with suppress(OSError, ValueError):
            status = path.stat()
            found[status.st_dev, status.st_ino] = path
    return found
