"""Decoding of one's own pictures and clips: fitted to one size, clips cut to windows."""

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from core.data.folder import Example
from core.io.media import PICTURES, WHITE, Color, frame_files, frames_at, is_animated, read_still
from core.io.text import count_of

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
    enlarge: bool = Field(default=True, description="whether smaller pictures are enlarged, or left out")

    def fitted(self, image: Image.Image) -> Image.Image:
        """The image in the size of the options: the middle of it, or all of it before the background.

        Raises ValueError for a smaller one where it may not be enlarged.
        """
        sides = (self.width or self.size, self.size)
        given = min(image.size) if self.fit == "crop" else max(image.size)
        if given < self.size and not self.enlarge:
            side = "shorter" if self.fit == "crop" else "longer"
            raise ValueError(
                f"it has {image.width}x{image.height} pixels, and its {side} side needs {self.size}"
            )
        if self.fit == "crop":
            return ImageOps.fit(image, sides, Image.Resampling.LANCZOS)
        return ImageOps.pad(image, sides, Image.Resampling.LANCZOS, color=self.background)


def kind_of(example: Example) -> str:
    """The kind of shard, "images" or "clips". Pictures are opened, since they may be animated."""
    suffix = Path(example.member or example.path).suffix.lower()
    if example.path.is_dir():
        return "clips"
    if suffix not in PICTURES:
        return "clips"
    with example.files() as path:
        return "clips" if is_animated(path) else "images"


def digest_of(example: Example) -> str:
    """Hash of the contents of an example."""
    digest = hashlib.sha256()
    with example.files() as path:
        for part in frame_files(path) if path.is_dir() else [path]:
            digest.update(part.read_bytes())
    return digest.hexdigest()


def decoded(example: Example, kind: str, options: PrepareOptions) -> Iterator[Tensor]:
    """The image (3,S,S), or the windows (F,3,S,S) of a clip, uint8."""
    with example.files() as path:
        if kind == "images":
            yield _tensor(options.fitted(read_still(path, options.background)))
            return
        shown = islice(frames_at(path, options.fps, options.background), LONGEST)
        frames = [_tensor(options.fitted(image)) for image in shown]
    if len(frames) < options.frames:
        raise ValueError(
            f"it has {count_of(len(frames), 'frame')} at {options.fps:g} a second, and a clip needs "
            f"{options.frames}"
        )
    for start in window_starts(len(frames), options.frames):
        yield torch.stack(frames[start : start + options.frames])


def window_starts(count: int, window: int) -> list[int]:
    """First frames of the windows that cover `count` frames; all but the last are half a window apart."""
    starts = list(range(0, count - window + 1, max(1, window // 2)))
    return starts if starts[-1] == count - window else [*starts, count - window]


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).contiguous()


def reason_of(error: BaseException) -> str:
    """Why a file cannot be used, as the end of a sentence."""
    if type(error) is ValueError and str(error).startswith("it has"):
        return str(error)
    return "it is damaged, or no picture or clip that Pillow or ffmpeg knows"
