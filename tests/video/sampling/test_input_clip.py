"""Clips as they are read: which frame is shown at which time, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.io.clips.write import write_clip
from video.sampling.input_clip import read_clip


def shades(count: int, height: int = 32, width: int = 32) -> np.ndarray:
    """Frame i is gray of value 10 i."""
    frames = np.repeat(np.arange(count) * 10, height * width * 3).astype(np.uint8)
    return frames.reshape(count, height, width, 3)


@pytest.mark.parametrize("ending", ["mp4", "gif", "webp"])
@pytest.mark.parametrize(("fps", "shown"), [(10, range(8)), (5, [0, 2, 4, 6]), (20, [0, 0, 1, 1, 2, 2])])
def test_frames_are_those_shown_at_their_times(tmp_path: Path, ending: str, fps: float, shown) -> None:
    path = tmp_path / f"clip.{ending}"
    write_clip(path, shades(8), 10)
    frames = read_clip(path, len(shown), fps, 16, 16)
    assert frames.shape == (len(shown), 16, 16, 3)
    np.testing.assert_allclose(frames.mean((1, 2, 3)), [10 * i for i in shown], atol=2.5)


def test_the_middle_is_cropped(tmp_path: Path) -> None:
    frames = np.zeros((3, 32, 64, 3), np.uint8)
    frames[:, :, 16:48] = 200
    write_clip(tmp_path / "wide.mp4", frames, 8)
    assert read_clip(tmp_path / "wide.mp4", 2, 8, 16, 16)[:, :, 2:-2].min() > 180


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no clip")
    (tmp_path / "text.gif").write_text("no clip")
    Image.new("RGB", (8, 8)).save(tmp_path / "one.webp")
    write_clip(tmp_path / "short.gif", shades(4), 8)
    for name, sentence in {
        "missing.mp4": "there is no such file",
        "text.mp4": "it is no video that ffmpeg or Pillow knows",
        "text.gif": "it is no video that ffmpeg or Pillow knows",
        "one.webp": "is a single picture: give it with --image",
        "short.gif": "gives 4 frames at 8 a second, and 16 are needed: give --frames 4",
    }.items():
        with pytest.raises(UserError, match=sentence):
            read_clip(tmp_path / name, 16, 8, 16, 16)
