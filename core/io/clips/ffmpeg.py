"""Clips that ffmpeg encodes: H.264 in mp4, and VP9 in webm, which can be transparent."""

import errno
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.io.pictures import Frames, UpscaledFrames

X264_THREADS = "4"  # the bytes depend on it, and ffmpeg's own choice on the processors that it may use
# Tagged, because players guess where a clip does not say it.
# fmt: off
BT709 = [
    "-vf", "scale=out_color_matrix=bt709:out_range=tv",
    "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv",
]
# fmt: on
BITEXACT = ["-fflags", "+bitexact", "-flags:v", "+bitexact"]  # no dates, versions and random numbers


class EncoderError(Exception):
    """ffmpeg's own message; `reason` is that of the system where one is in it, or its first line."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        known = map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT))
        first = message.strip().partition("\n")[0].rstrip(".")
        self.reason = next((reason for reason in known if reason in message), f"ffmpeg says: {first}")


def write_mp4(path: Path, frames: Frames | UpscaledFrames, fps: float) -> None:
    """Writes frames (F,H,W,3) as mp4: H.264, 4:2:0, crf 16, BT.709, and its index before the frames."""
    # fmt: off
    codec = [
        "-c:v", "libx264", "-crf", "16", "-preset", "slow", "-pix_fmt", "yuv420p", "-threads", X264_THREADS,
    ]
    # fmt: on
    _encode(path, frames, fps, [*codec, *BT709, "-movflags", "+faststart", *BITEXACT])


def write_webm(path: Path, frames: Frames | UpscaledFrames, fps: float) -> None:
    """Writes frames (F,H,W,3), or (F,H,W,4) with alpha, as webm: VP9, 4:2:0, crf 18, BT.709."""
    pixels = "yuva420p" if frames[0].shape[-1] == 4 else "yuv420p"
    # fmt: off
    codec = [
        "-c:v", "libvpx-vp9", "-crf", "18", "-b:v", "0", "-deadline", "good", "-cpu-used", "2",
        "-pix_fmt", pixels, "-auto-alt-ref", "0", "-row-mt", "0", "-threads", "1",
    ]
    # fmt: on
    _encode(path, frames, fps, [*codec, *BT709, *BITEXACT])


def common_palette(frames: Frames | UpscaledFrames) -> NDArray[np.uint8]:
    """At most 255 colors (N,3) for all frames (F,H,W,3) or (F,H,W,4) together, by ffmpeg's median cut.

    Pixels of less than half opacity do not count; black is the color of frames that have no others.
    """
    options = ["-vf", "palettegen=stats_mode=full", "-f", "rawvideo", "-pix_fmt", "rgba", "-"]
    colors = np.frombuffer(_run(frames, 1, options), np.uint8).reshape(-1, 4)
    visible = colors[colors[:, 3] == 255, :3]
    return visible if len(visible) else np.zeros((1, 3), np.uint8)


def _encode(path: Path, frames: Frames | UpscaledFrames, fps: float, options: list[str]) -> None:
    """Writes a file."""
    # "12:30.mp4" is no protocol, and "-y/fox.mp4" no option
    _run(frames, fps, [*options, f"file:{path.absolute()}"])


def _run(frames: Frames | UpscaledFrames, fps: float, options: list[str]) -> bytes:
    """What ffmpeg prints that reads the frames, one by one.

    4:2:0 requires an even width and height: an odd one repeats its last column or row. Raises EncoderError.
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    height, width, channels = frames[0].shape
    odd = (0, height % 2), (0, width % 2), (0, 0)
    # fmt: off
    command = [
        get_ffmpeg_exe(), "-y", "-v", "error",
        "-f", "rawvideo", "-pix_fmt", {3: "rgb24", 4: "rgba"}[channels],
        "-s", f"{width + width % 2}x{height + height % 2}", "-r", str(fps), "-i", "-", *options,
    ]
    # fmt: on
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as ffmpeg:
        assert ffmpeg.stdin
        with suppress(BrokenPipeError):  # ffmpeg has ended, and says why
            for frame in frames:
                ffmpeg.stdin.write(np.pad(frame, odd, mode="edge").tobytes())
        printed, message = ffmpeg.communicate()
    if ffmpeg.returncode:
        raise EncoderError(message.decode(errors="replace"))
    return printed
