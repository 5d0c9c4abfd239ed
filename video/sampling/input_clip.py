"""Reading a clip from a file, cropped to a size and resampled to a frame rate. Imports no torch."""

from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from core.errors import UserError
from core.io.media import PICTURES, UNDECODABLE, WHITE, Color, frames_at, is_animated
from core.io.pictures import Frames
from core.io.text import count_of


def read_clip(
    path: Path, frames: int, fps: float, width: int, height: int, background: Color = WHITE
) -> Frames:
    """Frames (frames,height,width,3) of a clip at times 0, 1/fps, 2/fps, ...; of each time the frame shown.

    Each is cropped in the middle to the shape that is needed, and scaled. Formats are those of
    `core.io.media.frames_at`.

    Raises UserError for a file that cannot be read, that holds a single picture, or that is too short.
    """
    if not path.is_file():
        raise UserError(f"Cannot read the clip {path}: there is no such file.")
    try:
        still = path.suffix.lower() in PICTURES and not is_animated(path)
        shown = [] if still else islice(frames_at(path, fps, background), frames)
        taken = [np.asarray(ImageOps.fit(each, (width, height), Image.Resampling.LANCZOS)) for each in shown]
    except UNDECODABLE as error:
        raise UserError(
            f"Cannot read the clip {path}: it is no video that ffmpeg or Pillow knows."
        ) from error
    if still:
        raise UserError(f"{path} is a single picture: give it with --image, or a clip with --video.")
    if len(taken) < frames:
        raise UserError(
            f"{path} gives {count_of(len(taken), 'frame')} at {fps:g} a second, and {frames} are needed: "
            f"give --frames {len(taken)} or less."
        )
    return np.stack(taken)
