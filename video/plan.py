"""Plan of a clip longer than the network's window: which frames are sampled together. Imports no torch."""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

from core.errors import UserError

FRAME_RATE = 8.0  # frames per second of models in this project's format: a loop takes two seconds
WINDOW = 16  # frames sampled together; the length of the training clips
OVERLAP = 4  # frames of the previous window that the next one continues


class Shot(NamedTuple):
    """A prompt and the time from which it holds."""

    start: float  # seconds, or frames
    prompt: str


class Window(NamedTuple):
    """Frames that are sampled together. Its first `known` frames are the last ones of the window before."""

    first: int
    count: int
    known: int
    shot: int  # index of its prompt


def plan_windows(frames: int, starts: Sequence[int] = (0,)) -> list[Window]:
    """Windows that cover `frames` frames, each sampled after the one before it.

    starts: first frames of the shots, ascending from 0. A window has frames of one shot, apart from its known
        ones.
    """
    windows: list[Window] = []
    for shot, start in enumerate(starts):
        first, stop = start, min(frames, starts[shot + 1] if shot + 1 < len(starts) else frames)
        while first < stop:
            known = min(OVERLAP, first)
            count = min(WINDOW, known + stop - first)
            windows.append(Window(first - known, count, known, shot))
            first += count - known
    return windows


def parse_script(text: str) -> list[Shot]:
    """Shots of a script such as "0: a panda standing | 2: a panda waving", or with one shot a line.

    Raises UserError unless the times are ascending seconds from 0, each with a prompt.
    """
    parts = [part.strip() for part in re.split(r"[|\n]", text) if part.strip()]
    shots: list[Shot] = []
    for part in parts:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*s?\s*:\s*(.+)", part)
        if not match:
            raise UserError(
                f"Cannot read {part!r} of the script: write SECONDS: PROMPT, as in 2: a fox waving."
            )
        shots.append(Shot(float(match[1]), match[2].strip()))
    if not shots:
        raise UserError("The script is empty: write SECONDS: PROMPT in every line.")
    times = [shot.start for shot in shots]
    if times[0] != 0 or any(later <= earlier for earlier, later in itertools.pairwise(times)):
        given = ", ".join(f"{time:g}" for time in times)
        raise UserError(f"The times of a script must begin with 0 and ascend, not {given}.")
    return shots
