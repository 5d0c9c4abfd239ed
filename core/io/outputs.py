"""Output files of a command: one per prompt and seed, named after the prompt or by the user."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from core.errors import UserError
from core.io.atomic import writable_folder


class PlannedOutput(NamedTuple):
    """One output to generate: its prompt, seed and file."""

    prompt: str
    seed: int
    file: Path


def plan_outputs(
    prompts: Sequence[str],
    num: int,
    seed: int,
    out: str | None,
    what: str,
    extensions: Sequence[str],
    *,
    seeds: Sequence[int | None] | None = None,
    names: Sequence[str | None] | None = None,
) -> list[PlannedOutput]:
    """The planned outputs: `num` files per prompt, with the seeds seed, seed + 1, ..., seed + num - 1.

    seeds, names: of prompts that have a seed or a file name of their own.
    out: a file with one of the extensions, or a folder (an existing one, or a name that ends in "/"). Files
        in a folder have the first extension and are named after the prompts. None is the current folder. A
        name that occurs again within the plan gets the suffix -2, -3, ...
    what: the word for such a file in messages.

    Raises UserError for counts and seeds out of range, another extension, or a folder that is not writable.
    """
    if num < 1:
        raise UserError(f"--num cannot be {num}: there must be at least one {what}.")
    first = [seed if own is None else own for own in seeds or [None] * len(prompts)]
    for number in (seed, *first):
        if not 0 <= number <= 2**63 - num:
            raise UserError(f"--seed cannot be {number}: a seed is a whole number from 0 to 2^63 - 1.")
    path = Path(out or ".")
    if path.is_dir() or (out or "").endswith(("/", os.sep)):
        folder, extension, stems = path, extensions[0], [slug(prompt) for prompt in prompts]
    else:
        folder, extension, stems = path.parent, path.suffix, [path.stem for _ in prompts]
    endings = [extension] * len(prompts)
    for row, name in enumerate(names or ()):
        if name is not None:
            stems[row], ending = os.path.splitext(name)
            endings[row] = ending or extension
            if name in (".", "..") or re.search(r"[/\\]", name):
                raise UserError(f"Cannot write the {what} as {name}: give a name without a folder.")
    for stem, ending in zip([path.stem, *stems], [extension, *endings], strict=True):
        if ending.lower() not in extensions:
            known = " or ".join(filter(None, [", ".join(extensions[:-1]), extensions[-1]]))
            raise UserError(f"Cannot write the {what} as {stem}{ending}: its name must end in {known}.")
    writable_folder(folder)

    numbered = _numbered(stem for stem in stems for _ in range(num))
    requests = [(row, i) for row in range(len(prompts)) for i in range(num)]
    return [
        PlannedOutput(prompts[row], first[row] + i, folder / f"{name}{endings[row]}")
        for (row, i), name in zip(requests, numbered, strict=True)
    ]


def slug(prompt: str) -> str:
    """File name of a prompt: "A panda, on a swing!" -> "a-panda-on-a-swing"; at most 48 characters."""
    return re.sub(r"[\W_]+", "-", prompt.lower())[:48].strip("-") or "nameless"


def _numbered(stems: Iterable[str]) -> Iterator[str]:
    """Unique names: each stem, or the first of stem-2, stem-3, ... that has not occurred yet."""
    used: set[str] = set()
    numbers: dict[str, int] = {}
    for stem in stems:
        name = stem
        while name in used:
            numbers[stem] = numbers.get(stem, 1) + 1
            name = f"{stem}-{numbers[stem]}"
        used.add(name)
        yield name
