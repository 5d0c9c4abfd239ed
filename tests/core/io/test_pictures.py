"""Written clips, decoded by ffmpeg and Pillow; upscaling and frame conversion."""

import os
import tracemalloc
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.errors import UserError
from core.io.pictures import Frames, UpscaledFrames, _delays, to_frames, upscale, write_clip

COLORS = np.array(
    [[200, 30, 30], [30, 180, 60], [40, 60, 200], [230, 220, 60], [250, 250, 250], [10, 10, 10]], np.uint8
)


def color_patches(frames: int = 6, height: int = 32, width: int = 48) -> Frames:
    """Two rows of uniform color patches that move by one patch from frame to frame."""
    rows = [np.roll(COLORS, i, axis=0).reshape(2, 3, 3) for i in range(frames)]
    return np.stack([row.repeat(height // 2, 0).repeat(width // 3, 1) for row in rows])


def centers(frame: np.ndarray) -> np.ndarray:
    """Colors (6,3) at the centers of the patches, away from the edges that compression blurs."""
    height, width, _ = frame.shape
    return frame[height // 4 :: height // 2, width // 6 :: width // 3].reshape(-1, 3).astype(int)


@pytest.mark.parametrize("fps", [8.0, 12.5, 30.0])
def test_mp4_decodes_to_the_same_frames(tmp_path: Path, fps: float) -> None:
    path, frames = tmp_path / "clip.mp4", color_patches()
    write_clip(path, frames, fps)
    read = iio.imread(path)
    assert read.shape == frames.shape
    for ours, theirs in zip(frames, read, strict=True):
        assert np.abs(centers(ours) - centers(theirs)).max() <= 4  # 8-bit YCbCr of limited range, crf 16
    metadata = iio.immeta(path)
    assert metadata["fps"] == pytest.approx(fps, abs=0.01)
    assert metadata["codec"] == "h264" and metadata["pix_fmt"].startswith("yuv420p(tv, bt709")


def test_mp4_repeats_the_edge_of_odd_sizes(tmp_path: Path) -> None:
    frames = np.full((3, 31, 45, 3), 128, np.uint8)
    write_clip(tmp_path / "odd.mp4", frames, 8)
    read = iio.imread(tmp_path / "odd.mp4")
    assert read.shape == (3, 32, 46, 3)
    assert np.abs(read.astype(int) - 128).max() <= 2


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("fps", [8.0, 15.0])
def test_gif_and_webp_loop_with_the_requested_duration(tmp_path: Path, suffix: str, fps: float) -> None:
    path, frames = tmp_path / f"clip{suffix}", color_patches()
    write_clip(path, frames, fps)
    total = 0
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == len(frames)
        assert image.info["loop"] == 0
        for index, frame in enumerate(frames):
            image.seek(index)
            decoded = np.asarray(image.convert("RGB"))
            assert np.abs(centers(decoded) - centers(frame)).max() <= (0 if suffix == ".gif" else 6)
            total += image.info["duration"]
    assert total == pytest.approx(1000 * len(frames) / fps, abs=5 if suffix == ".gif" else 0.5)


def test_static_areas_of_a_gif_do_not_flicker(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frames = np.stack([random.integers(0, 256, (32, 32, 3), np.uint8)] * 8)
    frames[:, 8:24, 8:24] = random.integers(0, 256, (8, 16, 16, 3), np.uint8)
    write_clip(tmp_path / "noise.gif", frames, 8)
    read = iio.imread(tmp_path / "noise.gif")
    assert (read[:, :8] == read[0, :8]).all()
    assert (read[1:, 8:24, 8:24] != read[:-1, 8:24, 8:24]).any()


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        write_clip(tmp_path / f"{name}{suffix}", color_patches(), 8)
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_bytes_do_not_depend_on_the_processors_that_may_be_used(tmp_path: Path) -> None:
    processors = os.sched_getaffinity(0)
    if len(processors) < 2:
        pytest.skip("one processor")
    written = []
    try:
        for allowed in ({min(processors)}, processors):
            os.sched_setaffinity(0, allowed)
            write_clip(tmp_path / "clip.mp4", color_patches(16, 64, 96), 8)
            written.append((tmp_path / "clip.mp4").read_bytes())
    finally:
        os.sched_setaffinity(0, processors)
    assert written[0] == written[1]


@given(st.integers(1, 200), st.floats(2, 2000))
def test_delays_do_not_drift(count: int, delay: float) -> None:
    ends = np.cumsum(_delays(count, delay))
    assert np.abs(ends - delay * np.arange(1, count + 1)).max() <= 0.5 + 1e-6


def test_failed_writes_raise_user_error_and_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"clip\.avi.*\.mp4, \.gif or \.webp"):
        write_clip(tmp_path / "clip.avi", color_patches(), 8)
    with pytest.raises(UserError, match="Cannot write into the folder"):
        write_clip(tmp_path / "missing" / "clip.gif", color_patches(), 8)
    with pytest.raises(UserError, match=f"Cannot write {tmp_path}/clip.mp4: ffmpeg says: ") as error:
        write_clip(tmp_path / "clip.mp4", color_patches()[:, :, :0], 8)
    assert "/." not in str(error.value)  # the name of the draft
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["12:30.mp4", "-y/fox.mp4", "pipe:1.mp4", "a%03d b?.mp4"])
def test_names_of_files_are_neither_options_nor_protocols_of_ffmpeg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    write_clip(Path(name), color_patches(2), 8)
    assert iio.imread(tmp_path / name).shape == (2, 32, 48, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_frames_upscaled_one_by_one_are_the_same_clip(tmp_path: Path, suffix: str) -> None:
    frames = color_patches(3, 9, 13)
    written: list[bytes] = []
    for name, each in (("whole", upscale(frames, 3)), ("lazy", UpscaledFrames(frames, 3))):
        write_clip(tmp_path / f"{name}{suffix}", each, 8)
        written.append((tmp_path / f"{name}{suffix}").read_bytes())
    assert written[0] == written[1]


def test_an_mp4_is_written_with_the_memory_of_a_few_frames(tmp_path: Path) -> None:
    frames = color_patches(40, 32, 48)
    tracemalloc.start()
    try:
        write_clip(tmp_path / "large.mp4", UpscaledFrames(frames, 8, "nearest"), 8)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 3 * (8 * 32) * (8 * 48)


def test_nearest_upscaling_repeats_pixels() -> None:
    frames = color_patches(2, 8, 12)
    assert (upscale(frames, 3, "nearest") == frames.repeat(3, 1).repeat(3, 2)).all()


def test_lanczos_interpolates_a_cosine() -> None:
    def wave(pixels: int) -> np.ndarray:
        position = (np.arange(pixels) + 0.5) / pixels  # pixel centers relative to the image width
        return 128 + 100 * np.cos(2 * np.pi * 4 * position)

    frames = np.broadcast_to(wave(48).round().astype(np.uint8)[None, None, :, None], (2, 8, 48, 3))
    upscaled = upscale(np.ascontiguousarray(frames), 5, "lanczos")
    assert upscaled.shape == (2, 40, 240, 3)
    inside = slice(20, -20)  # the wave is not continued beyond the image
    assert np.abs(upscaled[0, 20, inside, 0] - wave(240)[inside]).max() < 3


def test_to_frames_converts_and_clips_values() -> None:
    clip = np.array([-1.5, -1.0, 0.0, 1.0, 2.0]).reshape(1, 5, 1, 1).repeat(3, 0)
    assert to_frames(clip).shape == (5, 1, 1, 3)
    assert to_frames(clip)[:, 0, 0, 0].tolist() == [0, 0, 128, 255, 255]
