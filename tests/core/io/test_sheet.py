"""Contact sheets: layout of the frames, and the heading."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.io.sheet import GAP, INK, MARGIN, PAPER, contact_sheet, write_sheet


def grays(count: int, side: int) -> np.ndarray:
    levels = np.linspace(60, 220, count).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, side, side, 3))


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (8, 3, 3), (16, 4, 4), (24, 5, 5)])
def test_frames_are_in_reading_order(count: int, columns: int, rows: int) -> None:
    frames = grays(count, 64)
    sheet = np.asarray(contact_sheet(frames, "a panda"))
    cell = 3 * 64  # the largest multiple of 64 within 192
    top = sheet.shape[0] - MARGIN - rows * (cell + GAP) + GAP
    assert sheet.shape[1] == 2 * MARGIN + columns * (cell + GAP) - GAP
    for index, frame in enumerate(frames):
        y = top + index // columns * (cell + GAP)
        x = MARGIN + index % columns * (cell + GAP)
        assert (sheet[y : y + cell, x : x + cell] == frame[0, 0]).all()
        assert (sheet[y : y + cell, x + cell] == PAPER).all()


def test_the_number_of_columns_can_be_given() -> None:
    frames = grays(8, 64)
    sheet = np.asarray(contact_sheet(frames, "a panda", columns=4))
    top = sheet.shape[0] - MARGIN - 2 * (192 + GAP) + GAP
    assert sheet.shape[1] == 2 * MARGIN + 4 * (192 + GAP) - GAP
    assert (sheet[top + 192 + GAP + 5, MARGIN + 3 * (192 + GAP) + 5] == frames[7, 0, 0]).all()


def test_long_prompts_are_wrapped_within_the_sheet() -> None:
    prompt = "an astronaut riding a horse on a beach at sunset, " * 3
    sheet = np.asarray(contact_sheet(grays(4, 64), prompt))
    heading = sheet[: sheet.shape[0] - 2 * (192 + GAP) - MARGIN]
    text_pixels = np.argwhere((heading == INK).all(-1))
    assert len(text_pixels) > 500
    assert (
        text_pixels[:, 1].max() < sheet.shape[1] - MARGIN
        and text_pixels[:, 0].max() < len(heading) - MARGIN / 2
    )
    one_line = np.asarray(contact_sheet(grays(4, 64), "a panda"))
    assert one_line.shape[1] == sheet.shape[1] and one_line.shape[0] < sheet.shape[0]


def test_write_sheet_writes_a_png(tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.png", grays(4, 64), "a panda")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG"
        assert (np.asarray(image) == np.asarray(contact_sheet(grays(4, 64), "a panda"))).all()
    with pytest.raises(UserError, match="Cannot write into the folder"):
        write_sheet(tmp_path / "missing" / "sheet.png", grays(4, 64), "a panda")
