"""Written clips, decoded by ffmpeg and Pillow: frames, durations, transparency, bytes."""

import os
import subprocess
import tracemalloc
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from core.errors import UserError
from core.io.clips.animations import delays
from core.io.clips.formats import FORMATS
from core.io.clips.write import write_clip
from core.io.media import frames_at
from core.io.pictures import Frames, UpscaledFrames, upscale

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
    assert [name for name, _ in boxes(path.read_bytes())] == [b"ftyp", b"moov", b"free", b"mdat"]


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """Names and contents of the boxes of an mp4 (ISO/IEC 14496-12)."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append((data[4:8], data[8:size]))
        data = data[size:]
    return found


@pytest.mark.parametrize("alpha", [False, True])
def test_webm_decodes_to_the_same_frames(tmp_path: Path, alpha: bool) -> None:
    path, frames = tmp_path / "clip.webm", color_patches()
    if alpha:
        frames = with_alpha(frames)
    write_clip(path, frames, 12.5)
    metadata = iio.immeta(path)
    assert metadata["codec"] == "vp9" and metadata["fps"] == pytest.approx(12.5)
    # libvpx reads the second stream with the alpha, which ffmpeg's own decoder leaves out.
    decode = ["-v", "error", "-c:v", "libvpx-vp9", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgba", "-"]
    command = [get_ffmpeg_exe(), *decode]
    read = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
    read = read.reshape(*frames.shape[:3], 4)
    for ours, theirs in zip(frames, read, strict=True):
        assert np.abs(centers(ours[..., :3]) - centers(theirs[..., :3]))[1:].max() <= 6
    assert np.abs(read[:, 4:12, 4:12, 3].astype(int) - (0 if alpha else 255)).max() <= 2
    assert read[:, 20:, :, 3].min() >= 253


def test_mp4_repeats_the_edge_of_odd_sizes(tmp_path: Path) -> None:
    frames = np.full((3, 31, 45, 3), 128, np.uint8)
    write_clip(tmp_path / "odd.mp4", frames, 8)
    read = iio.imread(tmp_path / "odd.mp4")
    assert read.shape == (3, 32, 46, 3)
    assert np.abs(read.astype(int) - 128).max() <= 2


def with_alpha(frames: Frames) -> Frames:
    """The frames with a clear upper left patch."""
    _, height, width, _ = frames.shape
    alpha = np.full((*frames.shape[:3], 1), 255, np.uint8)
    alpha[:, : height // 2, : width // 3] = 0
    return np.concatenate([frames, alpha], -1)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".apng"])
@pytest.mark.parametrize("fps", [8.0, 15.0])
def test_animations_loop_with_the_requested_duration(tmp_path: Path, suffix: str, fps: float) -> None:
    path, frames = tmp_path / f"clip{suffix}", color_patches()
    write_clip(path, frames, fps)
    total = 0
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == len(frames)
        assert image.info["loop"] == 0
        for index, frame in enumerate(frames):
            image.seek(index)
            decoded = np.asarray(image.convert("RGB"))
            assert np.abs(centers(decoded) - centers(frame)).max() <= (6 if suffix == ".webp" else 0)
            total += image.info["duration"]
    assert total == pytest.approx(1000 * len(frames) / fps, abs=5 if suffix == ".gif" else 0.5)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".apng", ".png"])
def test_transparent_frames_are_clear_where_alpha_is_zero(tmp_path: Path, suffix: str) -> None:
    frames = with_alpha(color_patches())
    written = write_clip(tmp_path / f"clip{suffix}", frames, 8)
    read = []
    for path in written:
        with Image.open(path) as image:
            for index in range(getattr(image, "n_frames", 1)):
                image.seek(index)
                read.append(np.asarray(image.convert("RGBA")))
    assert len(read) == len(frames)
    for ours, theirs in zip(frames, read, strict=True):
        assert (theirs[..., 3] == ours[..., 3]).all()
        difference = np.abs(centers(ours[..., :3]) - centers(theirs[..., :3]))[1:]
        assert difference.max() <= (6 if suffix == ".webp" else 0)


def test_a_gif_in_which_nothing_is_visible_is_clear(tmp_path: Path) -> None:
    write_clip(tmp_path / "clear.gif", np.zeros((3, 8, 8, 4), np.uint8), 8)
    with Image.open(tmp_path / "clear.gif") as image:
        assert not np.asarray(image.convert("RGBA"))[..., 3].any()


def test_png_writes_one_picture_a_frame(tmp_path: Path) -> None:
    frames = color_patches(12)
    written = write_clip(tmp_path / "a fox.png", frames, 8)
    assert [path.name for path in written] == [f"a fox.{number:04}.png" for number in range(1, 13)]
    assert sorted(tmp_path.iterdir()) == written
    for path, frame in zip(written, frames, strict=True):
        assert (iio.imread(path) == frame).all()
    assert len(list(frames_at(tmp_path, 8))) == 12  # as a folder of frames


def test_the_palette_of_a_gif_is_that_of_all_frames(tmp_path: Path) -> None:
    """Frames of 32 shades each, 256 together: every shade has a color near it, whichever frame it is in."""
    ramp = np.arange(256, dtype=np.uint8).reshape(8, 1, 32).repeat(24, 1)
    frames = np.stack([ramp, ramp // 2, 255 - ramp], -1)
    write_clip(tmp_path / "ramp.gif", frames, 8)
    assert np.abs(iio.imread(tmp_path / "ramp.gif").astype(int) - frames).max() <= 1


def test_static_areas_of_a_gif_do_not_flicker(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frames = np.stack([random.integers(0, 256, (32, 32, 3), np.uint8)] * 8)
    frames[:, 8:24, 8:24] = random.integers(0, 256, (8, 16, 16, 3), np.uint8)
    write_clip(tmp_path / "noise.gif", frames, 8)
    read = iio.imread(tmp_path / "noise.gif")
    assert (read[:, :8] == read[0, :8]).all()
    assert (read[1:, 8:24, 8:24] != read[:-1, 8:24, 8:24]).any()


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        write_clip(tmp_path / f"{name}{suffix}", color_patches(), 8)
    names = sorted(path.name for path in tmp_path.iterdir())
    half = len(names) // 2
    for one, two in zip(names[:half], names[half:], strict=True):
        assert two == one.replace("one", "two")
        assert (tmp_path / one).read_bytes() == (tmp_path / two).read_bytes()


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
    ends = np.cumsum(delays(count, delay))
    assert np.abs(ends - delay * np.arange(1, count + 1)).max() <= 0.5 + 1e-6


def test_failed_writes_raise_user_error_and_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"clip\.avi.*\.mp4, \.webm, \.gif, \.webp, \.apng or \.png"):
        write_clip(tmp_path / "clip.avi", color_patches(), 8)
    with pytest.raises(UserError, match=r"clip\.mp4 cannot be transparent: its name must end in \.webm"):
        write_clip(tmp_path / "clip.mp4", with_alpha(color_patches()), 8)
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
