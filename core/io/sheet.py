"""Contact sheets: many images in one, with the prompt above."""

import math
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from core.io.atomic import atomic_write
from core.io.pictures import Frames, upscale

CELL = 192  # px; frames are upscaled by the largest integer factor that does not exceed this size
GAP, MARGIN = 4, 12  # px
PAPER, INK = (250, 250, 248), (40, 40, 44)
LETTER = 18  # px


def contact_sheet(frames: Frames, title: str, columns: int | None = None) -> Image.Image:
    """Contact sheet of frames (F,H,W,3) in reading order, below `title`, which is wrapped to lines.

    columns: frames per row; None for a nearly square grid.
    """
    frames = upscale(frames, max(1, CELL // max(frames.shape[1:3])))
    count, height, width, _ = frames.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet_width = 2 * MARGIN + columns * (width + GAP) - GAP

    font = ImageFont.load_default(LETTER)
    letters = max(
        8, int((sheet_width - 2 * MARGIN) / (0.55 * LETTER))
    )  # characters per line, at 0.55 em on average
    text = "\n".join(textwrap.wrap(title, letters))
    top = 2 * MARGIN + math.ceil(LETTER * 1.3) * (text.count("\n") + 1)

    sheet = Image.new("RGB", (sheet_width, top + rows * (height + GAP) - GAP + MARGIN), PAPER)
    ImageDraw.Draw(sheet).multiline_text((MARGIN, MARGIN), text, fill=INK, font=font, spacing=LETTER * 0.3)
    for index, frame in enumerate(frames):
        row, column = divmod(index, columns)
        sheet.paste(Image.fromarray(frame), (MARGIN + column * (width + GAP), top + row * (height + GAP)))
    return sheet


def write_sheet(path: Path, frames: Frames, title: str, columns: int | None = None) -> None:
    """Writes the contact sheet of frames (F,H,W,3) as PNG. Raises UserError in an unwritable folder."""
    sheet = contact_sheet(frames, title, columns)
    with atomic_write(path) as draft:
        sheet.save(draft, format="PNG")
