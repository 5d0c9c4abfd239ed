"""Names of outputs and of the files that belong to them. They do not change: scripts rely on them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.io.paths import is_reserved

LONGEST = 48  # characters of a name made of a prompt


def slug(prompt: str) -> str:
    """File name of a prompt: "A panda, on a swing!" -> "a-panda-on-a-swing"; at most `LONGEST` characters."""
    name = re.sub(r"[\W_]+", "-", prompt.lower())[:LONGEST].strip("-") or "nameless"
    return f"{name}-1" if is_reserved(name) else name


def companion(output: Path, ending: str) -> Path:
    """A file that belongs to an output: fox.mp4 and ".sheet.png" -> fox.sheet.png, in the same folder."""
    return output.with_name(output.stem + ending)


def referenced(output: Path, ending: str) -> Path:
    """A companion whose name stands inside another file, where spaces and line breaks would end it.

    "a fox.obj" and ".mtl" -> a-fox.mtl.
    """
    return output.with_name((re.sub(r"[^\w.+()-]+", "-", output.stem).strip("-") or "nameless") + ending)


def numbered(output: Path, number: int) -> Path:
    """One of the files that an output consists of: fox.png and 3 -> fox.0003.png, in the same folder."""
    return output.with_name(f"{output.stem}.{number:04}{output.suffix}")


@dataclass(frozen=True)
class OutputKind:
    """What a command writes: its main file, and the endings of the files that belong to one."""

    command: str  # "gen-video"; part of the record's name
    word: str  # for the main file in messages: "clip"
    extensions: tuple[str, ...]  # of the main file; the first is that of automatic names
    companions: tuple[str, ...] = ()  # written with it, some by certain options only
    by_extension: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])  # more
    numbered: frozenset[str] = frozenset()  # extensions of main files that are several, see `numbered`
    named_inside: frozenset[str] = frozenset()  # endings of those whose names stand inside other files
    preview: str | None = None  # there while the output is made, if any
    checkpoint: str | None = None  # there until the output is made, if any
    batched: bool = True  # whether batches of such outputs note their failures

    def files(self, output: Path) -> OutputFiles:
        """The files of an output."""
        return OutputFiles(self, output)

    def output_of(self, main: str) -> str:
        """Name of the output whose main file, or first one, has this name: fox.0001.png -> fox.png."""
        path = Path(main)
        return re.sub(r"\.\d{4,}$", "", path.stem) + path.suffix if path.suffix in self.numbered else main


@dataclass(frozen=True)
class OutputFiles:
    """The files of one output."""

    kind: OutputKind
    output: Path  # the main file, or the name that its numbered files share

    def beside(self, ending: str) -> Path:
        """The file with this ending."""
        return (referenced if ending in self.kind.named_inside else companion)(self.output, ending)

    @property
    def main(self) -> Path:
        """The main file; the first one where it is several."""
        return numbered(self.output, 1) if self.is_numbered else self.output

    @property
    def is_numbered(self) -> bool:
        """Whether the main file is several."""
        return self.output.suffix.lower() in self.kind.numbered

    def further(self) -> list[Path]:
        """The numbered files after the first that are there, whoever has made them."""
        if not self.is_numbered:
            return []
        form = re.compile(rf"{re.escape(self.output.stem)}\.\d{{4,}}{re.escape(self.output.suffix)}")
        with suppress(OSError):
            names = sorted(filter(form.fullmatch, os.listdir(self.output.parent)))
            return [path for name in names if (path := self.output.with_name(name)) != self.main]
        return []

    @property
    def companions(self) -> list[Path]:
        """What may be written with the main file, in addition to the record."""
        more = self.kind.by_extension.get(self.output.suffix.lower(), ())
        return [self.beside(ending) for ending in (*more, *self.kind.companions)]

    @property
    def record(self) -> Path:
        """How the output was made, and which files belong to it."""
        return self.beside(f".{self.kind.command}.json")

    @property
    def lock(self) -> Path:
        """The file by which a process locks the output while it makes it."""
        return self.output.with_name(f".{self.record.stem}.lock")

    @property
    def failure(self) -> Path:
        """Why an output of a batch was not made; there until it is."""
        return self.beside(f".{self.kind.command}.failed.txt")

    @property
    def preview(self) -> Path:
        """A picture of the unfinished output, while it is made."""
        assert self.kind.preview
        return self.beside(self.kind.preview)

    @property
    def checkpoint(self) -> Path:
        """What an interrupted run resumes from."""
        assert self.kind.checkpoint
        return self.beside(self.kind.checkpoint)

    @property
    def lasting(self) -> list[Path]:
        """All files that the output may consist of, the main one first."""
        return [self.main, *self.further(), *self.companions, self.record]

    @property
    def there(self) -> list[Path]:
        """Those of them that are there."""
        return [path for path in self.lasting if path.is_file()]

    @property
    def passing(self) -> list[Path]:
        """All files that are there only until the output is made."""
        endings = filter(None, [self.kind.preview, self.kind.checkpoint])
        return [*([self.failure] if self.kind.batched else []), *map(self.beside, endings)]
