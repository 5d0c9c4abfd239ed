"""Sixty files of all formats, whole and broken, trained on from the command line."""

import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

TRAINING = {"batch_size": 8, "compile": False, "log_steps": 1, "warmup_steps": 0, "decay": 0.0}
NETWORK = {"patch": 2, "widths": [32], "blocks": [1], "attention": [True]}
BROKEN = ("empty.png", "half.jpg", "no picture.webp", "half.mp4", "no video.mov", "half.gif", "half.tar")

RNG = np.random.default_rng(0)


def noise(width: int = 24, height: int = 20, mode: str = "RGB") -> Image.Image:
    pixels = RNG.integers(256, size=(height, width, 3), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(pixels).convert(mode)


def bytes_of(image: Image.Image, kind: str) -> bytes:
    data = io.BytesIO()
    image.save(data, kind)
    return data.getvalue()


def write_pictures(folder: Path) -> int:
    """Stills of all modes and of odd sizes; returns their number."""
    for mode in ("RGB", "L", "LA", "P", "RGBA", "1", "I;16"):
        noise(mode=mode).save(folder / f"a {mode.replace(';', ' ')} pattern.png")
    for number, mode in enumerate(("RGB", "L", "CMYK")):
        noise(mode=mode).save(folder / f"a photo of noise_{number:03d}.jpg")
    for turned in (3, 6, 8):
        wide = noise(30, 20)
        exif = wide.getexif()
        exif[0x0112] = turned
        wide.save(folder / f"turned {turned}.jpg", exif=exif)
    for mode in ("RGB", "RGBA"):
        noise(mode=mode).save(folder / f"a {mode} web picture.webp", lossless=True)
    for width, height in ((1, 1), (301, 7), (17, 93), (640, 480)):
        noise(width, height).save(folder / f"of {width} by {height} pixels.png")
    noise().save(folder / "a still.gif")
    noise().save(folder / "a bitmap.bmp")
    noise(mode="CMYK").save(folder / "for print.tif")
    for name, table in (("csv", "metadata.csv"), ("jsonl", "metadata.jsonl")):
        (folder / name).mkdir()
        for number in range(3):
            noise().save(folder / name / f"IMG_{number}.png")
        rows = [{"file_name": f"IMG_{n}.png", "text": f"number {n}, of {name}"} for n in (0, 1, 1)]
        lines = [json.dumps(row) for row in rows]
        if name == "csv":
            lines = ["file_name,text", *(f'{row["file_name"]},"{row["text"]}"' for row in rows)]
        (folder / name / table).write_text("\n".join(lines))
    for number in range(2):
        noise().save(folder / f"DSC_{number}.jpg")
        (folder / f"DSC_{number}.txt").write_text(f"noise with\na text file {number}\n")
    with tarfile.open(folder / "shard.tar", "w") as archive:
        for number in range(3):
            members = {"png": bytes_of(noise(), "PNG"), "txt": f"noise {number} of a shard".encode()}
            for ending, data in members.items():
                information = tarfile.TarInfo(f"{number:04d}.{ending}")
                information.size = len(data)
                archive.addfile(information, io.BytesIO(data))
    return 7 + 3 + 3 + 2 + 4 + 3 + 6 + 2 + 3


def write_clips(folder: Path) -> int:
    """Animations, videos and folders of frames of at least two seconds; returns their number."""
    frames = [noise() for _ in range(18)]
    for ending in ("gif", "webp", "png"):
        for number in range(2):
            path = folder / f"an animated {ending} {number}.{ending}"
            frames[0].save(path, save_all=True, append_images=frames[1:], duration=125 + 25 * number)
    for name in ("a walk", "a run"):
        (folder / name).mkdir()
        for number, frame in enumerate(frames):
            frame.save(folder / name / f"frame_{number:04d}.png")
    raw = RNG.integers(256, size=(75, 24, 32, 3), dtype=np.uint8).tobytes()
    ffmpeg = [get_ffmpeg_exe(), "-y", "-loglevel", "error"]
    h264, vp9 = ["-c:v", "libx264", "-preset", "ultrafast"], ["-c:v", "libvpx-vp9", "-deadline", "realtime"]
    for name, size, options in (
        ("landscape.mp4", "32x24", [*h264, "-pix_fmt", "yuv420p"]),
        ("portrait.mp4", "24x32", [*h264, "-pix_fmt", "yuv420p"]),
        ("variable rate.mp4", "32x24", [*h264, "-vf", "select='lt(n,20)+gte(n,40)'", "-fps_mode", "vfr"]),
        ("high rate.mp4", "32x24", [*h264, "-vf", "setpts=PTS*1.5,fps=50"]),
        ("a film.mov", "32x24", h264),
        ("ten bits.mov", "32x24", [*h264, "-pix_fmt", "yuv420p10le"]),
        ("from the web.webm", "32x24", vp9),
        ("see-through.webm", "32x24", [*vp9, "-pix_fmt", "yuva420p"]),
        ("a film.mkv", "32x24", h264),
        ("an old film.avi", "32x24", ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]),
    ):
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "25", "-i", "-"]
        subprocess.run([*ffmpeg, *source, *options, str(folder / name)], input=raw, check=True)
    turned = [*ffmpeg, "-display_rotation", "90", "-i", str(folder / "landscape.mp4"), "-c", "copy"]
    subprocess.run([*turned, str(folder / "turned.mp4")], check=True)
    return 6 + 2 + 11


def write_broken(folder: Path) -> None:
    """Files that cannot be used: `BROKEN`."""
    whole = bytes_of(noise(64, 64), "JPEG"), (folder / "landscape.mp4").read_bytes()
    (folder / "half.jpg").write_bytes(whole[0][: len(whole[0]) // 2])
    (folder / "half.mp4").write_bytes(whole[1][: len(whole[1]) // 2])
    (folder / "half.gif").write_bytes((folder / "an animated gif 0.gif").read_bytes()[:40])
    (folder / "half.tar").write_bytes((folder / "shard.tar").read_bytes()[:700])
    (folder / "empty.png").touch()
    for name in ("no picture.webp", "no video.mov", "notes.md"):  # the last is none of ours
        (folder / name).write_text("only words")


def test_sixty_mixed_files_are_trained_on_and_the_broken_ones_named(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "mixed"
    folder.mkdir()
    pictures, clips = write_pictures(folder), write_clips(folder)
    write_broken(folder)
    assert pictures + clips + len(BROKEN) == 59  # and notes, which are none of ours
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def preset(name: str, **values: object) -> str:
        (tmp_path / name).write_text(yaml.safe_dump({"training": TRAINING} | values))
        return name

    def losses(run: str) -> list[float]:
        lines = (tmp_path / run / "log.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    small = preset("image.yaml", model={"size": 16, "network": NETWORK}, clip_frames=True)
    image = ("dreamlift", "train", "image", "--data", "mixed", "--run", "image", "--preset", small, "--steps")
    done = command(*image, 20)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"{pictures} pictures, {clips} clips; {pictures + clips + 3} new files" in done.stdout
    assert f"{len(BROKEN)} could not be used" in done.stdout
    words = " ".join(done.stdout.split())
    for name in BROKEN:
        assert f"mixed/{name}: it is" in words.replace("\\", "/"), name
    (cache,) = (tmp_path / "cache" / "dreamlift" / "data").iterdir()
    captions = (cache / "captions.txt").read_text().splitlines()
    expected = ["a photo of noise", "a walk"]  # the name of a file, and of a folder of frames
    expected += ["number 0, of csv", "number 1, of jsonl", "csv"]  # tables; the folder of a file in no table
    expected += ["noise with a text file 1", "noise 2 of a shard"]
    assert set(expected) <= set(captions)
    assert len(losses("image")) == 20 and np.isfinite(losses("image")).all()

    clips_only = preset("video.yaml", frames=16, strides=[1], training=TRAINING | {"batch_size": 2})
    video = ("train", "video", "--data", "mixed", "--init", "image", "--run", "video", "--preset", clips_only)
    done = command("dreamlift", *video, "--steps", 20)
    assert done.returncode == 0, done.stderr
    assert "0 new files" in done.stdout and np.isfinite(losses("video")).all()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
