"""Which files a command makes: one for every prompt and seed, named after the prompt or as asked."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from core.errors import UserError
from core.io.atomic import writable_folder


class PlannedOutput(NamedTuple):
    """One thing to make."""

    prompt: str
    seed: int
    file: Path


def plan_outputs(
    prompts: Sequence[str], num: int, seed: int, out: str | None, what: str, extensions: Sequence[str]
) -> list[PlannedOutput]:
    """`num` files for every prompt, with seeds from `seed` on.

    out: a file with one of the extensions, or a folder (one that exists, or a name that ends in "/") to be
    filled with files of the first extension named after the prompts; None is the present folder. A name
    already taken is followed by -2, ...
    what: the word for such a file in messages.
    Raises UserError for impossible counts and seeds, another extension, or a folder where nothing can be
    written.
    """
    if num < 1:
        raise UserError(f"--num cannot be {num}: there must be at least one {what}.")
    if not 0 <= seed <= 2**63 - num:
        raise UserError(f"--seed cannot be {seed}: a seed is a whole number from 0 to 2^63 - 1.")
    path = Path(out or ".")
    if path.is_dir() or (out or "").endswith(("/", os.sep)):
        folder, extension, stems = path, extensions[0], [slug(prompt) for prompt in prompts]
    else:
        folder, extension, stems = path.parent, path.suffix, [path.stem for _ in prompts]
    if extension.lower() not in extensions:
        known = ", ".join(extensions[:-1]) + f" or {extensions[-1]}"
        raise UserError(f"Cannot write the {what} as {path.name}: its name must end in {known}.")
    writable_folder(folder)

    names = _numbered(stem for stem in stems for _ in range(num))
    wanted = ((prompt, seed + i) for prompt in prompts for i in range(num))
    return [
        PlannedOutput(prompt, number, folder / f"{name}{extension}")
        for (prompt, number), name in zip(wanted, names, strict=True)
    ]


def slug(prompt: str) -> str:
    """A file name for a prompt: "A panda, on a swing!" -> "a-panda-on-a-swing"; at most 48 letters."""
    return re.sub(r"[\W_]+", "-", prompt.lower())[:48].strip("-") or "nameless"


def _numbered(stems: Iterable[str]) -> Iterator[str]:
    """Each stem, or the first of stem-2, stem-3, ... that was not there before."""
    seen: set[str] = set()
    following: dict[str, int] = {}
    for stem in stems:
        name = stem
        while name in seen:
            following[stem] = following.get(stem, 1) + 1
            name = f"{stem}-{following[stem]}"
        seen.add(name)
        yield name
