"""Shards that are filled with what files show, or with rows of the shards of an earlier preparation."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.data.decode import PrepareOptions, decoded, reason_of
from core.data.folder import Example
from core.io.media import UNDECODABLE
from core.io.weights import write_tensors
from core.training.data import CAPTIONS, Shards

PER_SHARD = {"images": 512, "clips": 64}  # examples, or fewer where they are large
LARGEST = 2**28  # bytes of pixels in a shard, unless a single clip has more
EARLIER = "earlier-"  # prefix of shards that are being replaced


class Notes(BaseModel):
    """What a shard was made of, stored in it.

    contents: of each file, in order, the hash of its contents, the line of its first caption, the number of
        its captions, and that of its rows.
    reasons: of the hashes without rows, why the file cannot be used.
    """

    options: PrepareOptions
    contents: list[tuple[str, int, int, int]] = []
    reasons: dict[str, str] = {}

    @property
    def rows(self) -> int:
        """Number of rows of the shard."""
        return sum(rows for *_, rows in self.contents)


@dataclass(frozen=True)
class _Stored:
    """Rows of a shard of an earlier preparation; none where the file cannot be used, for a reason."""

    path: Path
    rows: slice
    reason: str = ""


def foreign_file(folder: Path) -> Path | None:
    """The first file in a folder that a preparation there would replace or delete, and none has written."""
    tensors = sorted(path for kind in PER_SHARD for path in folder.glob(f"*{kind}-*.safetensors"))
    if not tensors and os.path.lexists(folder / CAPTIONS):  # which a preparation writes last
        return folder / CAPTIONS
    shards = [path for path in tensors if path.name.startswith(tuple(PER_SHARD))]
    return next((path for path in shards if not _stored_notes(path)), None)


class ShardWriter:
    """Fills the shards of one kind, one after another, with what earlier shards hold or files show.

    A shard that is to hold what it holds already is not touched. One that is replaced is kept under another
    name until all are written, since the others may need its rows.
    """

    def __init__(self, folder: Path, kind: str, options: PrepareOptions) -> None:
        self.folder, self.kind, self.options = folder, kind, options
        self.rows = self.decoded = self.unusable = self.number = 0
        self.notes, self.parts, self.bytes = Notes(options=options), list[_Stored | Tensor](), 0
        self.moved: dict[Path, Path] = {}
        self.known: dict[str, _Stored] = {}
        for path in self._paths():
            self._remember(path)

    def _paths(self) -> list[Path]:
        """The shards of this kind, and earlier ones."""
        files = sorted(self.folder.glob(f"*{self.kind}-*.safetensors"))
        return [path for path in files if path.name.replace(EARLIER, "").startswith(f"{self.kind}-")]

    def _remember(self, path: Path) -> None:
        """Adds what a shard holds to what is known, if it was prepared with the same options."""
        notes, first = _stored_notes(path), 0
        if not notes or notes.options != self.options:
            return
        for digest, _, _, rows in notes.contents:
            rows_of = slice(first, first + rows)
            self.known[digest] = _Stored(path, rows_of, notes.reasons.get(digest, ""))
            first += rows

    def add(self, example: Example, digest: str, line: int) -> str:
        """Adds the example whose first caption has this line; returns why it cannot be used, if it cannot."""
        part, reason, count = self.known.get(digest), "", 0
        if part:
            reason, count = part.reason, part.rows.stop - part.rows.start
        else:
            self.decoded += 1
            try:
                part = torch.stack(list(decoded(example, self.kind, self.options)))
                count = len(part)
            except UNDECODABLE as error:
                reason = reason_of(error)
        if reason:
            self.notes.reasons[digest] = reason
            self.unusable += 1
        elif part is not None:
            self.parts.append(part)
        self.notes.contents.append((digest, line, max(1, len(example.captions)), count))
        frames = self.options.frames if self.kind == "clips" else 1
        self.bytes += count * frames * 3 * self.options.size * (self.options.width or self.options.size)
        self.rows += count
        if len(self.notes.contents) == PER_SHARD[self.kind] or self.bytes >= LARGEST:
            self._flush()
        return reason

    def close(self) -> None:
        """Writes the last shard, and deletes those that are no longer needed."""
        self._flush()
        valid = {self._path(number) for number in range(self.number)}
        for path in self._paths():
            if path not in valid:
                path.unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.kind}-{number:05d}.safetensors"

    def _flush(self) -> None:
        """Writes the shard that is being filled, unless it has no rows or is already there."""
        notes, parts, path = self.notes, self.parts, self._path(self.number)
        self.notes, self.parts, self.bytes = Notes(options=self.options), [], 0
        if not notes.rows:
            return
        self.number += 1
        if _stored_notes(path) == notes:
            return
        tensors = {name: torch.full((notes.rows,), torch.nan) for name in Shards.COLUMNS}
        columns = zip(*[row[1:] for row in notes.contents], strict=True)
        caption, captions, rows = (torch.tensor(column) for column in columns)
        tensors |= {"caption": caption.repeat_interleave(rows), "captions": captions.repeat_interleave(rows)}
        tensors["pixels"] = torch.cat([self._read(part) for part in parts])
        if path.is_file():
            aside = path.with_name(EARLIER + path.name)
            while aside.exists():  # left by a preparation that was interrupted
                aside = aside.with_name(EARLIER + aside.name)
            os.replace(path, aside)
            self.moved[path] = aside
        write_tensors(path, tensors, {"notes": notes.model_dump_json()})

    def _read(self, part: _Stored | Tensor) -> Tensor:
        """Rows of pixels in memory."""
        if isinstance(part, Tensor):
            return part
        with safe_open(self.moved.get(part.path, part.path), "pt") as file:
            return file.get_slice("pixels")[part.rows].clone()


def _stored_notes(path: Path) -> Notes | None:
    """The notes of a shard, or None without a shard that is whole."""
    try:
        with safe_open(path, "pt") as file:
            return Notes.model_validate_json((file.metadata() or {})["notes"])
    except (OSError, SafetensorError, KeyError, ValidationError):
        return None
