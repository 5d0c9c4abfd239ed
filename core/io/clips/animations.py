"""Clips that Pillow encodes, as animations that loop forever: gif, webp and apng."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.io.clips.ffmpeg import common_palette
from core.io.pictures import Frames, UpscaledFrames

VISIBLE = 128  # alpha from which a pixel of a gif is drawn, which has no degrees of transparency
CLEAR = 255  # index of its transparent color


def write_webp(path: Path, frames: Frames | UpscaledFrames, fps: float) -> None:
    """Writes frames (F,H,W,3), or (F,H,W,4) with alpha, as webp: quality 92, alpha without loss."""
    _save(path, [Image.fromarray(frame) for frame in frames], delays(len(frames), 1000 / fps), quality=92)


def write_apng(path: Path, frames: Frames | UpscaledFrames, fps: float) -> None:
    """Writes frames (F,H,W,3), or (F,H,W,4) with alpha, as apng, which loses nothing."""
    _save(path, [Image.fromarray(frame) for frame in frames], delays(len(frames), 1000 / fps))


def write_gif(path: Path, frames: Frames | UpscaledFrames, fps: float) -> None:
    """Writes frames (F,H,W,3), or (F,H,W,4) with alpha, as gif of at most 255 colors.

    All frames have one palette and no dithering: with palettes of their own, still areas would flicker, and
    so would a pattern of dots.
    """
    from scipy.spatial import KDTree  # half a second, at the end of those clips alone that need it

    colors = common_palette(frames)
    nearest = KDTree(colors)
    images = [_indexed(frame, nearest, colors) for frame in frames]
    clear: dict[str, Any] = {"transparency": CLEAR, "disposal": 2} if frames[0].shape[-1] == 4 else {}
    _save(path, images, [10 * delay for delay in delays(len(frames), 100 / fps)], **clear)


def _save(path: Path, images: list[Image.Image], durations: list[int], **options: Any) -> None:
    """Writes an animation. durations: ms, of each image. options: Pillow's, of the format."""
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, **options)


def _indexed(frame: NDArray[np.uint8], nearest: Any, colors: NDArray[np.uint8]) -> Image.Image:
    """A frame (H,W,3) or (H,W,4) as an image with a palette, and `CLEAR` where it is not visible.

    nearest: a k-d tree of the colors. Pillow's own search may miss the nearest by 3 levels.
    """
    packed = frame[..., :3].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    unique, index = np.unique(packed, return_inverse=True)
    _, found = nearest.query(np.stack([unique >> 16, unique >> 8 & 255, unique & 255], -1))
    indices = found.astype(np.uint8)[index].reshape(packed.shape)
    if frame.shape[-1] == 4:
        indices = np.where(frame[..., 3] < VISIBLE, np.uint8(CLEAR), indices)
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette(colors.tobytes())
    return image


def delays(count: int, delay: float) -> list[int]:
    """`count` integer delays whose running sum is within half a unit of equal delays of `delay` units."""
    ends = [round(delay * i) for i in range(count + 1)]
    return [end - start for start, end in pairwise(ends)]
