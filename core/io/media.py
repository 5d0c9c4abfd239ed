"""Decoding pictures, animations, videos and folders of frames, as RGB pictures. Imports no torch."""

import logging
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence

PICTURES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".gif",
    ".apng",
    ".bmp",
    ".tif",
    ".tiff",
)  # Pillow's; also animated
VIDEOS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v")  # ffmpeg's
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # Pillow's; others may run programs
ANIMATED = ("GIF", "PNG", "WEBP")  # of them; the further pages of others are no frames
LARGEST = 80_000_000  # pixels of a picture: 320 MB as it is decoded
TOO_LARGE = f"it has more than {LARGEST // 10**6} million pixels"
# What Pillow and ffmpeg raise over files that are damaged or made to harm.
UNDECODABLE = (
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    SyntaxError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
WHITE = (255, 255, 255)
SHORTEST, UNTIMED = 10, 100  # ms: least duration of an animation's frame, and that of one without
TOLERANCE = 1e-6  # s: a frame that ends here is over

Color = tuple[int, int, int]


class UnreadableError(ValueError):
    """A reason for which a file is not decoded, as the end of a sentence."""


def to_rgb(image: Image.Image, background: Color = WHITE) -> Image.Image:
    """The image as RGB: upright by its EXIF orientation, 16 bits reduced to 8, alpha over the background."""
    with warnings.catch_warnings(), suppress(*UNDECODABLE):
        warnings.simplefilter("ignore")  # a damaged EXIF block leaves the picture as it lies
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _reduced(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        under = Image.new("RGBA", layer.size, (*background, 255))
        return Image.alpha_composite(under, layer).convert("RGB")
    return image.convert("RGB")


def _reduced(image: Image.Image) -> Image.Image:
    """A gray image of 16 or 32 bits, or of floats, as one of 8 bits. Floats up to 1 are shares of 1."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode == "F" and values.size and values.max() <= 1:
        values = values * 255
    elif image.mode != "F" or values.max(initial=0) > 255:
        values = values / 257  # 65535 is white
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def is_animated(path: Path) -> bool:
    """Whether a file of Pillow's has more than one frame. Raises one of `UNDECODABLE` where it is damaged."""
    with open_picture(path) as image:
        return image.format in ANIMATED and getattr(image, "n_frames", 1) > 1


def read_still(path: Path, background: Color = WHITE) -> Image.Image:
    """The picture in a file, or its first frame, see `to_rgb`.

    Raises one of `UNDECODABLE` for a file that is damaged or no picture.
    """
    with open_picture(path) as image:
        return to_rgb(image, background)


def open_picture(path: Path) -> Image.Image:
    """The picture in a file of one of `FORMATS`, not decoded yet.

    Raises one of `UNDECODABLE` for other files and for more than `LARGEST` pixels.
    """
    if path.exists() and not path.is_file():
        raise UnreadableError("it is no file")
    if not Image.OPEN.keys() >= {*FORMATS}:
        Image.init()  # Pillow reads some formats only then
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of a limit near `LARGEST`
        try:
            image = Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
        except Image.DecompressionBombError as error:
            raise UnreadableError(TOO_LARGE) from error
    if image.width * image.height > LARGEST:
        image.close()
        raise UnreadableError(TOO_LARGE)
    return image


def frames_at(path: Path, fps: float, background: Color = WHITE) -> Iterator[Image.Image]:
    """Pictures of a clip at times 0, 1/fps, 2/fps, ...: of each time the frame that is shown.

    path: a file of `PICTURES` or `VIDEOS`, or a folder of frames, which are taken as they are, whatever fps.
        Videos are turned upright by their rotation, and their frames may have any times.

    Raises one of `UNDECODABLE` for what cannot be decoded.
    """
    if path.is_dir():
        yield from (read_still(frame, background) for frame in frame_files(path))
    elif path.suffix.lower() in PICTURES:
        yield from _animation(path, fps, background)
    else:
        yield from _video(path, fps)


def frame_files(folder: Path) -> list[Path]:
    """The pictures in a folder of frames, by their numbers."""
    stills = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and path.is_file()]
    return sorted(stills, key=lambda path: (frame_number(path.stem) or 0, path.name))


def frame_number(stem: str) -> int | None:
    """Number of a frame by the name of its file: of "0012", "frame12", "frame_0012"; None for other names."""
    digits = stem.lower().removeprefix("frame").lstrip("_- ")
    return int(digits) if digits.isdecimal() else None


def _animation(path: Path, fps: float, background: Color) -> Iterator[Image.Image]:
    taken, end = 0, 0.0
    with open_picture(path) as file:
        for frame in ImageSequence.Iterator(file):
            image = to_rgb(frame, background)  # which loads the frame, and with it its duration
            end += max(SHORTEST, frame.info.get("duration", UNTIMED)) / 1000
            while taken / fps < end - TOLERANCE:
                yield image
                taken += 1


def open_video(path: Path, parameters: Sequence[str] = ()) -> Any:
    """A reader of imageio-ffmpeg: it yields what the header says, then the bytes of each frame.

    parameters: of ffmpeg, for its output.
    """
    from imageio_ffmpeg import read_frames

    logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns of every clip that is turned
    return read_frames(str(path), output_params=[*parameters])


def _video(path: Path, fps: float) -> Iterator[Image.Image]:
    # The filter looks at the times of the frames. Rounded up, each falls on the first time that shows it.
    reader = open_video(path, ["-vf", f"fps={fps}:round=up"])
    information = next(reader)
    try:
        for data in reader:
            yield Image.frombytes("RGB", information["size"], data)
    finally:
        reader.close()
