"""Reading images, and frames as arrays."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from core.errors import UserError
from core.io.files.names import OutputKind
from core.io.media import UNDECODABLE, WHITE, Color, UnreadableError, is_animated, read_still

Frames = NDArray[np.uint8]  # (F,H,W,3), sRGB; (F,H,W,4) with alpha, not premultiplied

PICTURE = OutputKind("image", "image", (".png",), batched=False)  # of dreamlift image
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

    resampling: "lanczos" or "nearest". Those with alpha, (F,H,W,4), are averaged by their visible shares.
    """

    def __init__(self, frames: Frames, scale: int, resampling: str = "lanczos") -> None:
        self.frames, self.scale, self.resampling = frames, scale, RESAMPLING[resampling]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frames:
        """One frame (scale*H,scale*W,3), or 4."""
        frame = self.frames[index]
        size = frame.shape[1] * self.scale, frame.shape[0] * self.scale
        return frame if self.scale == 1 else np.asarray(Image.fromarray(frame).resize(size, self.resampling))


def upscale(frames: Frames, scale: int, resampling: str = "lanczos") -> Frames:
    """Upscaled frames (F,H,W,3) -> (F,scale*H,scale*W,3), see `UpscaledFrames`."""
    return frames if scale == 1 else np.stack([*UpscaledFrames(frames, scale, resampling)])
