"""Reading mp4, gif and webp files, cropped to a size and resampled to a frame rate. Imports no torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from core.errors import UserError
from core.io.pictures import Frames

TOLERANCE = 1e-6  # s: a frame that ends here is over


def read_clip(path: Path, frames: int, fps: float, width: int, height: int) -> Frames:
    """Frames (frames,height,width,3) of a clip at times 0, 1/fps, 2/fps, ...; of each time the frame shown.

    Each is cropped in the middle to the shape that is needed, and scaled. Formats are those of ffmpeg and,
    for .gif, .webp and .png, of Pillow.

    Raises UserError for a file that cannot be read, that holds a single picture, or that is too short.
    """
    if not path.is_file():
        raise UserError(f"Cannot read the clip {path}: there is no such file.")
    animated = path.suffix.lower() in (".gif", ".webp", ".png")
    taken: list[np.ndarray] = []
    shown, end = 0, 0.0
    try:
        for image, end in (_animation if animated else _video)(path):
            shown += 1
            if len(taken) < frames and len(taken) / fps < end - TOLERANCE:
                fitted = np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS))
                while len(taken) < frames and len(taken) / fps < end - TOLERANCE:
                    taken.append(fitted)
            if len(taken) == frames and shown > 1:
                break
    except (OSError, RuntimeError, ValueError, KeyError, SyntaxError) as error:
        raise UserError(
            f"Cannot read the clip {path}: it is no video that ffmpeg or Pillow knows."
        ) from error
    if shown < 2:
        raise UserError(f"{path} is a single picture: give it with --image, or a clip with --video.")
    if len(taken) < frames:
        raise UserError(
            f"{path} lasts {end:.3g} s, which is {len(taken)} frames at {fps:g} a second, and {frames} are "
            f"needed: give --frames {len(taken)} or less."
        )
    return np.stack(taken)


def _animation(path: Path) -> Iterator[tuple[Image.Image, float]]:
    """Pictures of a gif, webp or png, with the second at which each one ends."""
    end = 0.0
    with Image.open(path) as file:
        for frame in ImageSequence.Iterator(file):
            image = frame.convert("RGB")  # which loads the frame, and with it its duration
            end += max(10, frame.info.get("duration", 100)) / 1000
            yield image, end


def _video(path: Path) -> Iterator[tuple[Image.Image, float]]:
    """Pictures of a file of ffmpeg's, with the second at which each one ends."""
    from imageio_ffmpeg import read_frames

    reader = read_frames(str(path))
    information: Any = next(reader)
    try:
        for index, data in enumerate(reader, 1):
            yield Image.frombytes("RGB", information["size"], data), index / information["fps"]
    finally:
        reader.close()
