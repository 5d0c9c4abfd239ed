"""One's own data: all formats are decoded as meant, captions are found, what is broken is named."""

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from core.data.decode import PrepareOptions, window_starts
from core.data.folder import caption_of_name, collect
from core.data.prepare import prepare
from core.errors import UserError
from core.io.media import frames_at, read_still
from core.training.data import Shards

SMALL = PrepareOptions(size=16, fps=8, frames=4)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture(color: tuple[int, ...] = RED, size: tuple[int, int] = (20, 20), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, color)


def ramp(path: Path, *options: str, count: int = 30, fps: int = 30) -> Path:
    """A video whose red channel is 8 times the number of the frame."""
    raw = b"".join(np.full((16, 32, 3), 8 * i, np.uint8).tobytes() for i in range(count))
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "32x16", "-r", str(fps), "-i", "-"]
    encoded = ["-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv444p"]
    command = [get_ffmpeg_exe(), "-y", "-loglevel", "error", *source, *options, *encoded, str(path)]
    subprocess.run(command, input=raw, check=True)
    return path


def numbers(path: Path, fps: float) -> list[int]:
    """Numbers of the frames of a ramp that are shown at 0, 1/fps, ..."""
    return [round(float(np.asarray(image)[8, 8, 0]) / 8) for image in frames_at(path, fps)]


def test_frames_are_those_shown_at_their_times(tmp_path: Path) -> None:
    assert numbers(ramp(tmp_path / "a.mp4"), 8) == [0, 3, 7, 11, 15, 18, 22, 26]
    gaps = ramp(tmp_path / "gaps.mp4", "-vf", "select='lt(n,10)+gte(n,20)'", "-fps_mode", "vfr")
    assert numbers(gaps, 8) == [0, 3, 7, 9, 9, 9, 22, 26]  # frames have their own times
    turned = tmp_path / "turned.mp4"
    rotate = [get_ffmpeg_exe(), "-y", "-loglevel", "error", "-display_rotation", "90"]
    subprocess.run([*rotate, "-i", str(tmp_path / "a.mp4"), "-c", "copy", str(turned)], check=True)
    assert next(frames_at(turned, 8)).size == (16, 32)
    frames = [picture(color) for color in (RED, GREEN, BLUE)]
    for name in ("a.gif", "a.webp", "a.png"):
        path = tmp_path / name
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 300, 100], lossless=True)
        shown = [np.asarray(image)[0, 0].argmax() for image in frames_at(path, 10)]
        assert shown == [0, 1, 1, 1, 2], name


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16", "F"])
def test_every_mode_of_a_still_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "F") else "a.png")
    if mode == "I;16":
        Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(path)
    elif mode == "F":
        Image.fromarray(np.ones((4, 4), np.float32)).save(path)
    else:
        picture((255, 255, 255)).convert(mode).save(path)
    image = read_still(path)
    assert image.mode == "RGB" and np.asarray(image).min() >= 254


def test_alpha_lies_over_the_background_and_orientation_is_applied(tmp_path: Path) -> None:
    picture((255, 0, 0, 0), mode="RGBA").save(tmp_path / "clear.png")
    assert read_still(tmp_path / "clear.png", BLUE).getpixel((0, 0)) == BLUE
    palette = picture(RED).convert("P")
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    assert read_still(tmp_path / "palette.png", GREEN).getpixel((0, 0)) == GREEN
    wide = picture(RED, (30, 10))
    exif = wide.getexif()
    exif[0x0112] = 6  # turned by a quarter
    wide.save(tmp_path / "turned.jpg", exif=exif)
    assert read_still(tmp_path / "turned.jpg").size == (10, 30)


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("a-red-fox_003", "a red fox"),
        ("a red fox (2)", "a red fox"),
        ("IMG_2041", ""),
        ("3f9a01c2", ""),
        ("0001", ""),
        ("frame_0012", ""),
        ("ein Bär 7", "ein Bär"),
        ("20240101 - a dog", "20240101 a dog"),
    ],
)
def test_captions_of_names(name: str, caption: str) -> None:
    assert caption_of_name(name) == caption


def test_captions_are_those_of_metadata_sidecar_name_and_folder(tmp_path: Path) -> None:
    for name in ("one.png", "two.png", "a-red-fox.png", "IMG_1.png", "cats/0007.png", "sub/three.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture().save(tmp_path / name)
    (tmp_path / "two.txt").write_text("the second\none\n", encoding="utf-8")
    rows = 'file_name,text\none.png,"the first, really"\nsub/three.jpg,the third\nlost.png,gone\n'
    (tmp_path / "metadata.csv").write_text(rows, encoding="utf-8")
    found = collect(tmp_path)
    captions = {example.path.name: (example.captions, example.source) for example in found.examples}
    assert captions == {
        "one.png": (("the first, really",), "metadata"),
        "two.png": (("the second one",), "sidecar"),
        "a-red-fox.png": (("a red fox",), "name"),
        "IMG_1.png": ((), "none"),
        "0007.png": (("cats",), "name"),
        "three.jpg": (("the third",), "metadata"),
    }
    (problem,) = found.problems
    assert "row 3" in problem.path and "no file lost.png" in problem.reason
    (tmp_path / "metadata.csv").unlink()
    lines = [{"file_name": "one.png", "caption": "from json"}, {"text": "of nothing"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = collect(tmp_path)
    assert next(e for e in found.examples if e.path.name == "one.png").captions == ("from json",)
    assert "has no file_name" in found.problems[0].reason


def test_numbered_pictures_are_the_frames_of_a_clip(tmp_path: Path) -> None:
    for number in range(9, 14):
        (tmp_path / "a jumping fox").mkdir(exist_ok=True)
        picture((number, 0, 0)).save(tmp_path / "a jumping fox" / f"frame_{number}.png")
        (tmp_path / "gap").mkdir(exist_ok=True)
        picture().save(tmp_path / "gap" / f"{number if number < 13 else 20}.png")
    examples = collect(tmp_path).examples
    assert [example.captions for example in examples] == [("a jumping fox",), *[("gap",)] * 5]
    shown = [image.getpixel((0, 0))[0] for image in frames_at(examples[0].path, 8)]
    assert shown == [9, 10, 11, 12, 13]


def archive(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            information = tarfile.TarInfo(name)
            information.size = len(data)
            file.addfile(information, io.BytesIO(data))


def png(color: tuple[int, ...]) -> bytes:
    data = io.BytesIO()
    picture(color).save(data, "PNG")
    return data.getvalue()


def test_shards_hold_what_the_files_show(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    picture(RED, (40, 20)).save(data / "a red wall.png")
    picture(RED, (40, 20)).save(data / "a red wall 2.png")
    picture(GREEN).save(data / "IMG_1.jpg")
    (data / "IMG_1.txt").write_text(" ")
    (data / "broken.png").write_bytes(png(RED)[:40])
    (data / "text.mp4").write_text("no video")
    ramp(data / "a ramp.mp4")
    ramp(data / "short.mp4", count=10)
    json_caption = json.dumps({"caption": "a blue wall"}).encode()
    archive(data / "shard.tar", {"a/1.png": png(BLUE), "a/1.json": json_caption, "a/2.png": png((9, 9, 9))})
    (data / "half.tar").write_bytes((data / "shard.tar").read_bytes()[:700])
    out, ticks = tmp_path / "out", []
    result = prepare(collect(data), out, SMALL, lambda done, total: ticks.append((done, total)))
    assert (result.images, result.clips, result.windows) == (4, 1, 3) and ticks[-1] == (7, 7)
    assert {Path(p.path).name: p.reason for p in result.problems} == {
        "broken.png": "it is damaged, or no picture or clip that Pillow or ffmpeg knows",
        "text.mp4": "it is damaged, or no picture or clip that Pillow or ffmpeg knows",
        "short.mp4": "it has 3 frames at 8 a second, and a clip needs 4",
        "half.tar": result.problems[0].reason,
    }
    assert result.duplicates == [(str(data / "a red wall.png"), str(data / "a red wall 2.png"))]
    assert {Path(name).name for name in result.without_caption} == {"IMG_1.jpg", "2.png"}
    captions = (out / "captions.txt").read_text().splitlines()
    images, clips = Shards(out, "images"), Shards(out, "clips")
    texts = [captions[line] for line in images.rows(torch.arange(4))["caption"].tolist()]
    colors = images.pixels(torch.arange(4))[:, :, 8, 8].argmax(1).tolist()
    assert dict(zip(texts[:3], colors[:3], strict=True)) == {"": 1, "a red wall": 0, "a blue wall": 2}
    assert images.rows(torch.arange(4))["azimuth"].isnan().all()
    shown = (clips.pixels(torch.arange(3), torch.arange(4)[None].expand(3, 4))[:, 0, :, 8, 8] + 1) * 127.5 / 8
    assert shown.round().tolist() == [[0, 3, 7, 11], [7, 11, 15, 18], [15, 18, 22, 26]]

    written = {path.name: path.stat().st_mtime_ns for path in out.glob("*.safetensors")}
    again = prepare(collect(data), out, SMALL)
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.safetensors")} == written
    assert (again.images, again.windows, len(again.problems)) == (4, 3, 4)
    ramp(data / "a ramp.mp4", count=15)
    changed = prepare(collect(data), out, SMALL)
    assert changed.windows == 1
    states = {path.name: path.stat().st_mtime_ns == written[path.name] for path in out.glob("*.safetensors")}
    assert states == {"images-00000.safetensors": True, "clips-00000.safetensors": False}


def test_pictures_are_cropped_or_padded(tmp_path: Path) -> None:
    wide = picture(RED, (64, 32))
    wide.paste(GREEN, (0, 0, 16, 32))  # the left quarter, which a crop leaves out
    crop = np.asarray(SMALL.fitted(wide))
    assert crop.shape == (16, 16, 3) and crop[:, :, 1].max() < 60
    pad = np.asarray(SMALL.model_copy(update={"fit": "pad", "background": BLUE}).fitted(wide))
    assert tuple(pad[0, 8]) == BLUE and pad[8, 1].argmax() == 1 and pad[8, 12].argmax() == 0


def test_windows_cover_a_clip() -> None:
    assert window_starts(16, 16) == [0]
    assert window_starts(17, 16) == [0, 1]
    assert window_starts(40, 16) == [0, 8, 16, 24]
    assert window_starts(3, 1) == [0, 1, 2]


def test_folders_without_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        collect(tmp_path / "nowhere")
    (tmp_path / "readme.md").write_text("nothing")
    with pytest.raises(UserError, match="holds no pictures or clips"):
        collect(tmp_path)
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(UserError, match="Nothing in the folder can be used"):
        prepare(collect(tmp_path), tmp_path / "out", SMALL)


def test_files_may_have_several_captions(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name in ("one.png", "two.png", "three.png", "four.png"):
        picture((len(name), 0, 0)).save(data / name)
    rows = "file_name,text\none.png,a wall\none.png,a  red wall\none.png,a wall\ntwo.png,a door\n"
    (data / "metadata.csv").write_text(rows, encoding="utf-8")
    lines = [
        {"file_name": "two.png", "text": ["a gate", "", "a door"]},
        {"file_name": "three.png", "text": []},
    ]
    (data / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    listed = json.dumps({"text": ["a blue wall", "a wall, blue"]}).encode()
    archive(data / "shard.tar", {"1.png": png(BLUE), "1.json": listed})
    captions = {example.name.rpartition("/")[2]: example.captions for example in collect(data).examples}
    assert captions == {
        "four.png": ("four",),
        "one.png": ("a wall", "a red wall"),
        "shard.tar:1.png": ("a blue wall", "a wall, blue"),
        "three.png": (),
        "two.png": ("a door", "a gate"),
    }
    result = prepare(collect(data), out, SMALL)
    assert result.several_captions == 3 and [Path(n).name for n in result.without_caption] == ["three.png"]
    images, texts = Shards(out, "images"), (out / "captions.txt").read_text().splitlines()
    assert len(images) == 4 + 1  # no picture twice
    drawn = [
        {texts[line] for line in images.draw_captions(torch.full((50,), row)).tolist()} for row in range(5)
    ]
    assert drawn == [set(each) or {""} for each in captions.values()]


def test_pictures_that_would_be_enlarged_are_left_out(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for width, height in ((16, 16), (15, 40), (15, 12)):
        picture(RED, (width, height)).save(data / f"of {width} by {height} pixels.png")
    for fit, used, side in (("crop", 1, "shorter"), ("pad", 2, "longer")):
        options = SMALL.model_copy(update={"fit": fit, "enlarge": False})
        result = prepare(collect(data), tmp_path / fit, options)
        assert result.images == used and len(result.problems) == 3 - used
        assert f"it has 15x12 pixels, and its {side} side needs 16" in {p.reason for p in result.problems}


def test_what_is_no_file_is_a_problem_and_no_end_of_the_walk(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a red rug.png")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "again").symlink_to(tmp_path)
    (tmp_path / "nothing.png").symlink_to(tmp_path / "missing.png")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "metadata.csv").write_text(f"file_name,text\n{'x' * 300}.png,a\n")
    (tmp_path / "below" / "metadata.jsonl").write_text("[" * 20_000)
    found = collect(tmp_path)
    assert [example.path.name for example in found.examples] == ["a red rug.png"]
    reasons = {Path(problem.path).name.split(",")[0]: problem.reason for problem in found.problems}
    assert reasons["again"] == "it links to a folder that it is in"
    assert reasons["nothing.png"] == reasons["pipe.mp4"] == "it is a device, a pipe, or a link to nothing"
    assert reasons["metadata.csv"].startswith("there is no file xxx")
    assert reasons["metadata.jsonl"].startswith("it cannot be read: maximum recursion depth")
