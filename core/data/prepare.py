"""Training shards from one's own pictures and clips: decoded, fitted to one size, clips cut to windows.

The shards have the format of `core.training.data.Shards`. What a folder of pictures does not know (camera,
phase, shadow) is NaN there: "not given". The folder of the shards is a cache: a shard is prepared again when
the contents of its files or the options have changed, and not otherwise.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.data.folder import Collection, Example, Problem
from core.errors import UserError
from core.io.atomic import atomic_write, writable_folder
from core.io.media import PICTURES, UNDECODABLE, WHITE, Color, frame_files, frames_at, is_animated, read_still
from core.training.data import CAPTIONS, Shards

PER_SHARD = {"images": 512, "clips": 64}  # examples, at most
SHARD = 2**29  # bytes of pixels in a shard, about; a clip may give several windows
LONGEST = 4096  # frames of a clip that are read


class PrepareOptions(BaseModel):
    """How pictures and clips become tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=8, le=2048, description="height in pixels, and width")
    width: int | None = Field(default=None, ge=8, le=2048, description="width in pixels, where it differs")
    fit: Literal["crop", "pad"] = "crop"
    background: Color = WHITE  # under alpha, and around padded pictures
    fps: float = Field(default=8, gt=0, le=120, description="frames per second of clips")
    frames: int = Field(default=16, ge=1, le=1024, description="of a window; longer clips give several")

    def fitted(self, image: Image.Image) -> Image.Image:
        """The image in the size of the options: the middle of it, or all of it before the background."""
        sides = (self.width or self.size, self.size)
        if self.fit == "crop":
            return ImageOps.fit(image, sides, Image.Resampling.LANCZOS)
        return ImageOps.pad(image, sides, Image.Resampling.LANCZOS, color=self.background)


class Notes(BaseModel):
    """What a shard holds, stored in it."""

    rows: int
    problems: list[tuple[str, str]]


@dataclass
class Preparation:
    """What was prepared, and what could not be."""

    images: int = 0
    clips: int = 0
    windows: int = 0  # cut from the clips
    problems: list[Problem] = field(default_factory=list[Problem])
    duplicates: list[tuple[str, str]] = field(
        default_factory=list[tuple[str, str]]
    )  # name, name of the first
    without_caption: list[str] = field(default_factory=list[str])
    sources: Counter[str] = field(default_factory=Counter[str])  # of the captions


def prepare(
    collection: Collection,
    out: Path,
    options: PrepareOptions,
    on_done: Callable[[int, int], None] | None = None,
) -> Preparation:
    """Writes the shards of a collection into the folder `out`, and captions.txt beside them.

    on_done: called with (examples done, examples in total).

    Raises UserError when nothing can be used, or the folder is not writable.
    """
    writable_folder(out)
    result = Preparation(problems=list(collection.problems))
    groups: dict[str, list[tuple[int, Example, str]]] = {"images": [], "clips": []}
    seen: dict[tuple[str, str], str] = {}
    for line, example in enumerate(collection.examples):
        try:
            kind, digest = _kind(example), _digest(example)
        except UNDECODABLE as error:
            result.problems.append(Problem(example.name, _reason(error)))
            continue
        first = seen.setdefault((digest, example.caption), example.name)
        if first != example.name:
            result.duplicates.append((example.name, first))
            continue
        result.sources[example.source] += 1
        if not example.caption:
            result.without_caption.append(example.name)
        groups[kind].append((line, example, digest))
    done, total = 0, sum(len(group) for group in groups.values())
    for kind, group in groups.items():
        paths: list[Path] = []
        window = (
            3 * options.size * (options.width or options.size) * (options.frames if kind == "clips" else 1)
        )
        count = max(1, min(PER_SHARD[kind], SHARD // window))
        for number, start in enumerate(range(0, len(group), count)):
            part = group[start : start + count]
            path = out / f"{kind}-{number:05d}.safetensors"
            notes = _stored(path, _key(part, options)) or _write(path, kind, part, options)
            if notes.rows:
                paths.append(path)
            result.problems += [Problem(*each) for each in notes.problems]
            used = len(part) - len(notes.problems)
            if kind == "images":
                result.images += used
            else:
                result.clips, result.windows = result.clips + used, result.windows + notes.rows
            done += len(part)
            if on_done:
                on_done(done, total)
        for stale in set(out.glob(f"{kind}-*.safetensors")) - set(paths):
            stale.unlink()
    if not result.images + result.clips:
        first = result.problems[0]
        raise UserError(f"Nothing in the folder can be used: {first.path}: {first.reason}.")
    text = "".join(f"{example.caption}\n" for example in collection.examples)
    if not (out / CAPTIONS).is_file() or (out / CAPTIONS).read_text(encoding="utf-8") != text:
        with atomic_write(out / CAPTIONS) as draft:
            draft.write_text(text, encoding="utf-8")
    return result


def _kind(example: Example) -> str:
    """The kind of shard, "images" or "clips". Pictures are opened, since they may be animated."""
    suffix = Path(example.member or example.path).suffix.lower()
    if example.path.is_dir():
        return "clips"
    if suffix not in PICTURES:
        return "clips"
    with example.files() as path:
        return "clips" if is_animated(path) else "images"


def _digest(example: Example) -> str:
    """Hash of the contents of an example."""
    digest = hashlib.sha256()
    with example.files() as path:
        for part in frame_files(path) if path.is_dir() else [path]:
            digest.update(part.read_bytes())
    return digest.hexdigest()


def _key(part: Sequence[tuple[int, Example, str]], options: PrepareOptions) -> str:
    """Hash of all that a shard depends on."""
    contents = [
        options.model_dump(mode="json", exclude_none=True),
        [(line, digest) for line, _, digest in part],
    ]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()


def _stored(path: Path, key: str) -> Notes | None:
    """The notes of a shard with this key, or None."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    return Notes.model_validate_json(metadata["notes"]) if metadata.get("key") == key else None


def _write(path: Path, kind: str, part: Sequence[tuple[int, Example, str]], options: PrepareOptions) -> Notes:
    """Decodes the examples of a shard and writes it; returns its notes: number of rows, and problems."""
    pixels: list[Tensor] = []
    lines: list[int] = []
    problems: list[tuple[str, str]] = []
    for line, example, _ in part:
        try:
            rows = list(_decoded(example, kind, options))
        except UNDECODABLE as error:
            problems.append((example.name, _reason(error)))
            continue
        pixels += rows
        lines += [line] * len(rows)
    notes = Notes(rows=len(lines), problems=problems)
    columns = {name: torch.full((len(lines),), torch.nan) for name in Shards.COLUMNS}
    tensors = {**columns, "caption": torch.tensor(lines, dtype=torch.int64)}
    tensors["pixels"] = torch.stack(pixels) if pixels else torch.empty(0, 3, options.size, options.size)
    with atomic_write(path) as draft:
        save_file(tensors, draft, {"key": _key(part, options), "notes": notes.model_dump_json()})
    return notes


def _decoded(example: Example, kind: str, options: PrepareOptions) -> Iterator[Tensor]:
    """The image (3,S,S), or the windows (F,3,S,S) of a clip, uint8."""
    with example.files() as path:
        if kind == "images":
            yield _tensor(options.fitted(read_still(path, options.background)))
            return
        shown = islice(frames_at(path, options.fps, options.background), LONGEST)
        frames = [_tensor(options.fitted(image)) for image in shown]
    if len(frames) < options.frames:
        raise ValueError(
            f"it has {len(frames)} frames at {options.fps:g} a second, and a clip needs {options.frames}"
        )
    for start in window_starts(len(frames), options.frames):
        yield torch.stack(frames[start : start + options.frames])


def window_starts(count: int, window: int) -> list[int]:
    """First frames of the windows that cover `count` frames; all but the last are half a window apart."""
    starts = list(range(0, count - window + 1, max(1, window // 2)))
    return starts if starts[-1] == count - window else [*starts, count - window]


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).contiguous()


def _reason(error: BaseException) -> str:
    """Why a file cannot be used, as the end of a sentence."""
    if type(error) is ValueError and str(error).startswith("it has"):
        return str(error)
    return "it is damaged, or no picture or clip that Pillow or ffmpeg knows"
