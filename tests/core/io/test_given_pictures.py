"""Given pictures of all kinds as a viewer shows them, and files that are refused in a sentence."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.io.pictures import parse_color, read_image

RED, BLUE = (255, 0, 0), (0, 0, 255)


def pixel(path: Path, background: tuple[int, int, int] = (255, 255, 255)) -> tuple[int, ...]:
    """The upper left pixel."""
    return tuple(np.asarray(read_image(path, background))[0, 0].tolist())


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_parts_show_the_background(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("clear.tif" if mode == "PA" else "clear.png")
    if mode == "P":
        indexed = Image.new("RGB", (4, 4), RED).quantize(4)
        indexed.save(path, transparency=indexed.getpixel((0, 0)))
    elif mode == "PA":
        pytest.skip("no format stores it") if not hasattr(Image.new("PA", (4, 4)), "save") else None
        path = tmp_path / "clear.webp"
        Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(path, lossless=True)
    else:
        Image.new(mode, (4, 4), 0).save(path)
    assert pixel(path) == (255, 255, 255) and pixel(path, BLUE) == BLUE


def test_half_transparent_parts_are_mixed(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (*RED, 128)).save(tmp_path / "half.png")
    assert np.abs(np.subtract(pixel(tmp_path / "half.png", BLUE), (128, 0, 127))).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_pictures_are_scaled_to_8_bits(tmp_path: Path, dtype: type) -> None:
    values = np.linspace(0, 1, 256, dtype=np.float64)[None].repeat(4, 0)
    stored = (values * 65535).round() if dtype is np.uint16 else values
    Image.fromarray(stored.astype(dtype)).save(tmp_path / "deep.tif")
    shown = np.asarray(read_image(tmp_path / "deep.tif"))
    assert np.abs(shown[0, :, 1].astype(int) - np.arange(256)).max() <= 1


def test_numbers_that_are_not_finite_are_drawn_black_or_white(tmp_path: Path) -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    Image.fromarray(values).save(tmp_path / "odd.tif")
    assert set(np.asarray(read_image(tmp_path / "odd.tif"))[0, :3].flatten().tolist()) <= {0, 255}


def test_orientation_is_applied_and_a_damaged_block_ignored(tmp_path: Path) -> None:
    wide = Image.new("RGB", (30, 10), RED)
    exif = wide.getexif()
    exif[0x0112] = 6  # turned by a quarter
    wide.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").size == (10, 30)
    wide.save(tmp_path / "broken.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert read_image(tmp_path / "broken.jpg").size == (30, 10)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_bombs_are_refused_by_their_header(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(UserError, match="it has more than 80 million pixels"):
        read_image(tmp_path / "bomb.png")
    Image.new("1", (10000, 9000)).save(tmp_path / "large.png")
    with pytest.raises(UserError, match="it has more than 80 million pixels"):
        read_image(tmp_path / "large.png")


def test_formats_that_run_programs_or_are_no_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    (tmp_path / "a.png").write_text("no picture")
    Image.new("RGB", (16, 16)).save(tmp_path / "a.ico")
    for name in ("a.eps", "a.png", "a.ico"):
        with pytest.raises(UserError, match="it is no PNG, JPEG, WebP, GIF, BMP, TIFF or PPM picture"):
            read_image(tmp_path / name)


def test_damaged_files_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="Cannot read the picture .*cut.jpg: it is damaged"):
        read_image(tmp_path / "cut.jpg")
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path, tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises(UserError, match="Cannot read the picture .*: it is no file"):
            read_image(path)
    with pytest.raises(UserError, match="No such file or directory"):
        read_image(tmp_path / "missing.png")


@pytest.mark.parametrize("name", ["moves.gif", "moves.webp", "moves.png"])
def test_animations_are_refused_with_the_option_for_them(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, BLUE)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="is an animation: give one of its frames, or all of it with --video"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["pages.tif", "phone.mpo"])
def test_the_first_of_several_pages_is_the_picture(tmp_path: Path, name: str) -> None:
    pages = [Image.new("RGB", (8, 8), color) for color in (RED, BLUE)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    assert np.abs(np.subtract(pixel(tmp_path / name), RED)).max() <= 2


def test_colors_by_name_and_number() -> None:
    assert [parse_color(text) for text in ("white", "#00f", "#0000FF80", "rgb(255,0,0)")] == [
        (255, 255, 255), BLUE, BLUE, RED
    ]  # fmt: skip
    with pytest.raises(UserError, match="There is no color 'blu': give a name such as white, or #rrggbb"):
        parse_color("blu")
