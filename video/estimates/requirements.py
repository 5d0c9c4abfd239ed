"""Memory and disk that clips need, from their options alone. Imports no torch.

The numbers are measured (docs/files.md), and rather low than high: a run that fits is not to be refused. The
networks of checkpoints are not counted here, see `video.pipelines.estimate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.batches.prompt_file import PromptRow
from core.batches.requirements import Requirements, check_requirements
from core.io.clips.formats import FORMATS
from core.io.files.plan import output_place
from core.io.resources import GIB
from video.model_reference import ModelReference
from video.options import ClipOptions

LIBRARIES = 0.4 * GIB  # Python, PyTorch and the bundled models
SAMPLING = 0.025 * GIB  # of one window of a small model
FRAMES = 36  # bytes for a pixel of all frames: as tensors, as 8-bit colors, and on the contact sheet
# Bytes for a pixel of all enlarged frames, which are encoded together.
WHOLE = {".gif": 15, ".webp": 5, ".apng": 12}
# Bytes for a pixel of an enlarged frame, which x264 holds: of each of so many frames, and once.
X264, X264_FRAMES, X264_REFERENCES = 2.5, 90, 80
# Bytes for a pixel of all enlarged frames.
FILES = {".mp4": 0.035, ".webm": 0.035, ".gif": 0.2, ".webp": 0.05, ".apng": 1.1, ".png": 1.1}
SHEET, SMALLEST = 1, 30_000  # bytes of the contact sheet: for a pixel of all frames, and at least for a frame


def estimate_clip(
    reference: ModelReference, options: ClipOptions, extension: str = FORMATS[0], batch: int = 1
) -> Requirements:
    """What one clip needs; the memory is that of `batch` clips which are sampled together."""
    frames, height, width = reference.output_shape(options)
    pixels, frame = frames * height * width, height * width * options.scale**2
    if extension in WHOLE:
        encoder = float(WHOLE[extension] * frames * frame)
    else:
        encoder = (X264 * min(frames, X264_FRAMES) + X264_REFERENCES) * frame
    decoding = frames * reference.decoding_memory
    memory = LIBRARIES + max(batch * SAMPLING, batch * decoding, batch * pixels * FRAMES + encoder)
    file = FILES.get(extension, FILES[FORMATS[0]]) * frames * frame
    return Requirements(memory, file + max(SHEET * pixels, SMALLEST * frames))


def check_clips(
    reference: ModelReference,
    rows: Sequence[tuple[PromptRow, ClipOptions]],
    num: int,
    out: str | None,
    *,
    batch: int = 1,
    again: bool = False,
    force: bool | None = None,
) -> Requirements:
    """What `num` clips of each row need, see `check_requirements`."""
    _, file = output_place(out)
    together = min(batch, num * len(rows))
    each = [
        estimate_clip(reference, options, Path(row.out or file or "").suffix.lower(), together)
        for row, options in rows
    ]
    scaled = any(options.scale > 1 for _, options in rows)
    less = "give a smaller --batch" if together > 1 else "give fewer --frames"
    less = "give a smaller --scale" if scaled else less
    return check_requirements(each, num, out, "clip", less, again=again, force=force)
