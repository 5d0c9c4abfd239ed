"""What gen-video is asked for, checked before anything heavy is imported."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import UserError
from core.files import writable_folder
from core.pictures import EXTENSIONS


class ClipOptions(BaseModel):
    """How a clip is sampled and shown: the keys of a gen-video preset, each also an option of the command."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(ge=1, le=1000)
    guidance: float = Field(ge=0, le=100)  # diffusers' scale: 1 is none
    negative: str = ""
    frames: int = Field(ge=1, le=256)
    fps: float = Field(gt=0, le=50)  # gif players slow down what is faster
    scale: int = Field(ge=1, le=32)  # display pixels per pixel of the model, along a side
    resampling: Literal["lanczos", "nearest"] = "lanczos"
    azimuth: float | None = Field(None, ge=-360, le=360)  # degrees, 0 the front, counter-clockwise from above
    elevation: float | None = Field(None, ge=-90, le=90)  # degrees

    def changed(self, **values: Any) -> "ClipOptions":
        """These options with the values that are not None. Raises UserError that names the option."""
        given = {name: value for name, value in values.items() if value is not None}
        try:
            changed = ClipOptions(**(self.model_dump() | given))
        except ValidationError as error:
            first = error.errors()[0]
            name = first["loc"][0]
            raise UserError(f"--{name} cannot be {given[str(name)]!r}: {first['msg'].lower()}.") from error
        if (changed.azimuth is None) != (changed.elevation is None):
            raise UserError("A camera needs both --azimuth and --elevation: give both or neither.")
        return changed


class Job(NamedTuple):
    """One clip to make, and the files it leaves."""

    prompt: str
    seed: int
    clip: Path
    completed: str | None = None  # the prompt with what it leaves open said, where that is to be drawn

    @property
    def text(self) -> str:
        """What the model is told."""
        return self.completed or self.prompt

    @property
    def sheet(self) -> Path:
        return self.clip.with_suffix(".png")

    @property
    def record(self) -> Path:
        return self.clip.with_suffix(".json")

    @property
    def preview(self) -> Path:
        return self.clip.with_suffix(".preview.png")


def read_prompts(prompt: str | None, file: Path | None) -> list[str]:
    """The one prompt, or the non-blank lines of the file. Raises UserError when there is nothing to draw."""
    if (prompt is None) == (file is None):
        raise UserError('Give either a prompt, as in gen-video "a panda on a swing", or --prompts FILE.')
    if file is None:
        lines = [prompt or ""]
    else:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UserError(f"Cannot read the prompts of {file}: {reason}.") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise UserError("The prompt is empty." if file is None else f"There is no prompt in {file}.")
    return prompts


def slug(prompt: str) -> str:
    """A file name for a prompt: "A panda, on a swing!" -> "a-panda-on-a-swing"; at most 48 letters."""
    return re.sub(r"[\W_]+", "-", prompt.lower())[:48].strip("-") or "clip"


def plan(prompts: Sequence[str], num: int, seed: int, out: str | None) -> list[Job]:
    """`num` clips of every prompt, with seeds from `seed` on, and where they go.

    out: a file (.mp4, .gif, .webp), or a folder (one that exists, or a name that ends in "/") to be filled
    with mp4 named after the prompts; None is the present folder. A name already taken is followed by -2, ...
    Raises UserError for impossible counts, another extension, or a folder where nothing can be written.
    """
    if num < 1:
        raise UserError(f"--num cannot be {num}: there must be at least one clip.")
    if not 0 <= seed <= 2**63 - num:
        raise UserError(f"--seed cannot be {seed}: a seed is a whole number from 0 to 2^63 - 1.")
    path = Path(out or ".")
    if path.is_dir() or (out or "").endswith(("/", os.sep)):
        folder, extension, stems = path, ".mp4", [slug(prompt) for prompt in prompts]
    else:
        folder, extension, stems = path.parent, path.suffix, [path.stem for _ in prompts]
    if extension.lower() not in EXTENSIONS:
        raise UserError(f"Cannot write the clip as {path.name}: its name must end in .mp4, .gif or .webp.")
    writable_folder(folder)

    names = _numbered(stem for stem in stems for _ in range(num))
    wanted = ((prompt, seed + i) for prompt in prompts for i in range(num))
    return [
        Job(prompt, number, folder / f"{name}{extension}")
        for (prompt, number), name in zip(wanted, names, strict=True)
    ]


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
