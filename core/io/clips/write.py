"""Writing frames in the format that a file's name asks for."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import UserError
from core.io.atomic import WriteError, atomic_write
from core.io.clips.animations import write_apng, write_gif, write_webp
from core.io.clips.ffmpeg import EncoderError, write_mp4, write_webm
from core.io.clips.formats import FORMATS, STILLS, check_alpha
from core.io.files.names import numbered
from core.io.pictures import Frames, UpscaledFrames

WRITERS: Mapping[str, Callable[[Path, Frames | UpscaledFrames, float], None]] = {
    ".mp4": write_mp4,
    ".webm": write_webm,
    ".gif": write_gif,
    ".webp": write_webp,
    ".apng": write_apng,
}


def write_clip(path: Path, frames: Frames | UpscaledFrames, fps: float) -> list[Path]:
    """Writes frames (F,H,W,3), or (F,H,W,4), at `fps` frames/s, in the format of the suffix of `path`.

    The formats are those of `core.io.clips.formats`; all but mp4 take frames (F,H,W,4) with alpha. A .png
    becomes numbered pictures, see `core.io.files.names.numbered`. The same frames give the same bytes on one
    machine, however many of its processors may be used.

    Returns the paths. Raises UserError for another suffix, an unwritable folder, or when ffmpeg fails.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        *others, last = FORMATS
        raise UserError(
            f"Cannot write the clip as {path.name}: its name must end in {', '.join(others)} or {last}."
        )
    if ending == STILLS:
        return [_write_still(numbered(path, index + 1), frames[index]) for index in range(len(frames))]
    if frames[0].shape[-1] == 4:
        check_alpha(path.name)
    with atomic_write(path) as draft:
        try:
            WRITERS[ending](draft, frames, fps)
        except EncoderError as error:
            raise WriteError(path, error.reason.replace(str(draft.absolute()), path.name)) from error
    return [path]


def _write_still(path: Path, frame: NDArray[np.uint8]) -> Path:
    with atomic_write(path) as draft:
        Image.fromarray(frame).save(draft, "PNG")
    return path
