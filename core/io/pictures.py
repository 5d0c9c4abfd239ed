"""Reading images, and writing sequences of frames as mp4, gif or webp, atomically."""

import errno
import os
import subprocess
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from core.errors import UserError
from core.io.atomic import WriteError, atomic_write
from core.io.files.names import OutputKind
from core.io.media import UNDECODABLE, WHITE, Color, UnreadableError, is_animated, read_still

Frames = NDArray[np.uint8]  # (F,H,W,3), sRGB

PICTURE = OutputKind("image", "image", (".png",), batched=False)  # of dreamlift image
X264_THREADS = "4"  # the bytes depend on it, and ffmpeg's own choice on the processors that it may use
RESAMPLING = {"lanczos": Image.Resampling.LANCZOS, "nearest": Image.Resampling.NEAREST}


def to_frames(clip: np.ndarray) -> Frames:
    """8-bit frames (F,H,W,3) of a clip (3,F,H,W) in [-1, 1]; values outside are clipped."""
    frames = np.empty((*clip.shape[1:], len(clip)), np.uint8)
    for index in range(len(frames)):  # one by one: all at once would take three times the clip's memory
        frames[index] = ((clip[:, index].transpose(1, 2, 0).clip(-1, 1) + 1) * 127.5).round()
    return frames


def read_image(path: Path, background: Color = WHITE) -> Image.Image:
    """The picture in a file, as RGB, see `core.io.media.to_rgb`. background: below transparent parts.

    Raises UserError for a file that is no picture, damaged, too large, or an animation.
    """
    try:
        animated, image = is_animated(path), read_still(path, background)
    except UnidentifiedImageError as error:
        raise UserError(
            f"Cannot read the picture {path}: it is no PNG, JPEG, WebP, GIF, BMP, TIFF or PPM picture."
        ) from error
    except UNDECODABLE as error:
        reason = str(error) if isinstance(error, UnreadableError) else getattr(error, "strerror", None)
        reason = reason or "it is damaged"
        raise UserError(f"Cannot read the picture {path}: {reason}.") from error
    if animated:
        raise UserError(f"{path} is an animation: give one of its frames, or all of it with --video.")
    return image


def read_image_cropped(path: Path, width: int, height: int, background: Color = WHITE) -> Image.Image:
    """The picture in a file, cropped and scaled to width x height pixels; the rest is as in `read_image`."""
    return ImageOps.fit(read_image(path, background), (width, height), Image.Resampling.LANCZOS)


def parse_color(text: str) -> Color:
    """The color of a name, "#rrggbb" or "rgb(r,g,b)". Raises UserError for other text."""
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise UserError(f"There is no color {text!r}: give a name such as white, or #rrggbb.") from error


class UpscaledFrames:
    """Frames (F,H,W,3) that are upscaled one by one when they are read: large ones need not all be in memory.

    resampling: "lanczos" or "nearest".
    """

    def __init__(self, frames: Frames, scale: int, resampling: str = "lanczos") -> None:
        self.frames, self.scale, self.resampling = frames, scale, RESAMPLING[resampling]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frames:
        """One frame (scale*H,scale*W,3)."""
        frame = self.frames[index]
        size = frame.shape[1] * self.scale, frame.shape[0] * self.scale
        return frame if self.scale == 1 else np.asarray(Image.fromarray(frame).resize(size, self.resampling))


def upscale(frames: Frames, scale: int, resampling: str = "lanczos") -> Frames:
    """Upscaled frames (F,H,W,3) -> (F,scale*H,scale*W,3), see `UpscaledFrames`."""
    return frames if scale == 1 else np.stack([*UpscaledFrames(frames, scale, resampling)])


def write_clip(path: Path, frames: Frames | UpscaledFrames, fps: float) -> None:
    """Writes frames (F,H,W,3) at `fps` frames/s, in the format given by the suffix of `path`.

    mp4 is H.264, 4:2:0, crf 16, BT.709. 4:2:0 requires an even width and height: an odd one repeats its last
    column or row. gif and webp loop forever. The same frames give the same bytes on one machine,
    however many of its processors may be used.

    Raises UserError for another suffix, an unwritable folder, or when ffmpeg fails.
    """
    write = {".mp4": _write_mp4, ".gif": _write_gif, ".webp": _write_webp}.get(path.suffix.lower())
    if write is None:
        raise UserError(f"Cannot write the clip as {path.name}: its name must end in .mp4, .gif or .webp.")
    with atomic_write(path) as draft:
        try:
            write(draft, frames, fps)
        except _EncoderError as error:
            raise WriteError(path, error.reason.replace(str(draft.absolute()), path.name)) from error


class _EncoderError(Exception):
    """ffmpeg's own message; `reason` is that of the system where one is in it, or its first line."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        known = map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT))
        first = message.strip().partition("\n")[0].rstrip(".")
        self.reason = next((reason for reason in known if reason in message), f"ffmpeg says: {first}")


def _write_mp4(path: Path, frames: Frames | UpscaledFrames, fps: float) -> None:
    """Writes frames (F,H,W,3) as mp4 with ffmpeg, one by one."""
    from imageio_ffmpeg import get_ffmpeg_exe

    height, width, _ = frames[0].shape
    odd = (0, height % 2), (0, width % 2), (0, 0)
    size = f"{width + width % 2}x{height + height % 2}"
    # fmt: off
    command = [
        get_ffmpeg_exe(), "-y", "-v", "error",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps), "-i", "-",
        "-c:v", "libx264", "-crf", "16", "-preset", "slow", "-pix_fmt", "yuv420p",
        "-threads", X264_THREADS,
        "-vf", "scale=out_color_matrix=bt709:out_range=tv",  # tagged below; untagged, players guess
        "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv",
        "-movflags", "+faststart", "-fflags", "+bitexact", "-flags:v", "+bitexact",
        f"file:{path.absolute()}",  # "12:30.mp4" is no protocol, and "-y/fox.mp4" no option
    ]
    # fmt: on
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as ffmpeg:
        assert ffmpeg.stdin
        with suppress(BrokenPipeError):  # ffmpeg has ended, and says why
            for frame in frames:
                ffmpeg.stdin.write(np.pad(frame, odd, mode="edge").tobytes())
        _, message = ffmpeg.communicate()
    if ffmpeg.returncode:
        raise _EncoderError(message.decode(errors="replace"))


def _write_gif(path: Path, frames: Frames | UpscaledFrames, fps: float) -> None:
    """Writes frames (F,H,W,3) as gif."""
    # One palette for all frames, without dithering: with one palette per frame static areas would flicker.
    palette = Image.fromarray(np.concatenate([*frames])).quantize(256, Image.Quantize.MEDIANCUT)
    images = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    durations = [10 * delay for delay in _delays(len(frames), 100 / fps)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)


def _write_webp(path: Path, frames: Frames | UpscaledFrames, fps: float) -> None:
    """Writes frames (F,H,W,3) as webp."""
    images = [Image.fromarray(f) for f in frames]
    durations = _delays(len(frames), 1000 / fps)
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, quality=92)


def _delays(count: int, delay: float) -> list[int]:
    """`count` integer delays whose running sum is within half a unit of equal delays of `delay` units."""
    ends = [round(delay * i) for i in range(count + 1)]
    return [end - start for start, end in pairwise(ends)]
