"""Scripts: prompts with the times at which they begin, such as "0: a panda standing | 2: a panda waving"."""

import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from core.errors import UserError
from core.io.paths import read_text

BEGINS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*s?\s*:\s*(.*?)\s*", re.DOTALL)
SEPARATOR = " | "
LONGEST = 600  # s, of a clip


class Scene(NamedTuple):
    """A prompt and the second of the clip at which it begins."""

    start: float
    prompt: str


def parse_script(text: str) -> list[Scene]:
    """The scenes of a script; [] where the text is a plain prompt, which does not begin with a time.

    text: "SECONDS: PROMPT" for each scene, separated by "|".

    Raises UserError for a script with scenes that have no time or no prompt, or do not begin at 0 and ascend.
    """
    if not BEGINS.fullmatch(text):
        return []
    scenes: list[Scene] = []
    for part in text.split("|"):
        match = BEGINS.fullmatch(part)
        if not match or not match[2]:
            raise UserError(
                f"{part.strip()!r} is no scene: write SECONDS: PROMPT for each, separated by |, as in "
                '"0: a panda standing | 2: a panda waving".'
            )
        if float(match[1]) > LONGEST:
            raise UserError(f"A scene of the script begins after {LONGEST} s, where no clip lasts as long.")
        scenes.append(Scene(float(match[1]), match[2]))
    if scenes[0].start != 0:
        raise UserError(f"The first scene of a script must begin at 0 s, not at {scenes[0].start:g} s.")
    for earlier, later in pairwise(scenes):
        if later.start <= earlier.start:
            raise UserError(
                f"The scenes of a script must follow each other: {later.start:g} s comes after "
                f"{earlier.start:g} s."
            )
    return scenes


def read_script(file: Path) -> str:
    """The script of a text file with one scene per line, on one line.

    Raises UserError when it cannot be read, or is no script.
    """
    lines = read_text(file, "the script").split("\n")
    text = SEPARATOR.join(line.strip(" |") for line in lines if line.strip(" |"))
    if not parse_script(text):
        raise UserError(f'{file} is no script: give lines SECONDS: PROMPT, as in "0: a panda standing".')
    return text


def format_script(scenes: list[Scene]) -> str:
    """The text of which `parse_script` makes these scenes."""
    return SEPARATOR.join(f"{scene.start:g}: {scene.prompt}" for scene in scenes)
