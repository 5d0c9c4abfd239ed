"""The part of a prompt that a text encoder takes: encoders have windows of a fixed number of tokens."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable

from core.notice import notice

SHOWN = 40  # characters of what is left out


def read_part(prompt: str, window: int, count: Callable[[str], int]) -> str:
    """The longest beginning of a prompt, in whole words, that fits; a notice tells what is left out.

    window: tokens that the encoder takes. count: tokens of a text that begins like the prompt, with all that
        is added to it; it grows with the text.
    """
    if count(prompt) <= window:
        return prompt
    ends = [word.end() for word in re.finditer(r"\S+", prompt)]
    fitting = bisect_left(ends, True, key=lambda end: count(prompt[:end]) > window)
    if not fitting:  # a first word that is too long by itself
        ends = list(range(len(prompt)))
        fitting = max(1, bisect_left(ends, True, key=lambda end: count(prompt[:end]) > window))
    part, rest = prompt[: ends[fitting - 1]], prompt[ends[fitting - 1] :].strip()
    shown = rest if len(rest) <= SHOWN else f"{rest[:SHOWN]}..."
    notice(f'The text encoder takes {window} tokens, so the end of the prompt is left out: "{shown}".')
    return part
