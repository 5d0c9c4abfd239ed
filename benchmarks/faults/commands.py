"""All commands with their options, read from the applications themselves, and a legal call of each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import typer

import dream3d.cli
import dreamlift.cli
import video.cli

MAINS = {"gen-video": video.cli.main, "dream3d": dream3d.cli.main, "dreamlift": dreamlift.cli.main}
APPS = {"gen-video": video.cli.app, "dream3d": dream3d.cli.app, "dreamlift": dreamlift.cli.app}

PICTURES = ["--data", "pictures"]
TOYS = ["--data", "toys"]
RUN = ["--run", "run"]
SHORT = ["--steps", "1"]
OUT = ["--out", "out"]

# Arguments that are legal; {} is what a case adds. Each begins its work, which the trial stops.
LEGAL: dict[str, list[str]] = {
    "gen-video": ["a fox"],
    "dream3d": ["a fox"],
    "dreamlift image": ["a fox"],
    "dreamlift vary": ["picture.png"],
    "dreamlift blend": ["picture.png", "picture.png"],
    "dreamlift edit": ["picture.png", "--from", "a fox", "--to", "a cat"],
    "dreamlift toybox": [*OUT, "--images", "8"],
    "dreamlift data": ["pictures"],
    "dreamlift doctor": [],
    "dreamlift evaluate image": [],
    "dreamlift evaluate video": [],
    "dreamlift evaluate object": [],
    "dreamlift studio": ["--port", "0"],
    "dreamlift train image": [*PICTURES, *RUN, *SHORT, "--init", "bundled"],
    "dreamlift train video": [*PICTURES, *RUN, *SHORT, "--init", "bundled"],
    "dreamlift train autoencoder": [*PICTURES, *RUN, *SHORT, *OUT],
    "dreamlift train super-resolution": [*PICTURES, *RUN, *SHORT, *OUT],
    "dreamlift train interpolation": [*PICTURES, *RUN, *SHORT, *OUT],
    "dreamlift train eyes": [*OUT, *SHORT],
    "dreamlift train judge": [*TOYS, *OUT, *SHORT],
    "dreamlift train features": [*TOYS, *RUN, *SHORT, *OUT],
    "dreamlift train contrastive": [*TOYS, *RUN, *SHORT, *OUT],
    "dreamlift train prior": [*TOYS, *RUN, *SHORT, *OUT, "--contrastive", "a-model"],
    "dreamlift train distill": [*TOYS, *RUN, *SHORT, *OUT, "--model", "a-model"],
    "dreamlift train encode": [*TOYS, "--first-stage", "a-model"],
    "dreamlift train swap-decoder": [*OUT, "--model", "a-model", "--first-stage", "a-model"],
    "dreamlift train export": ["--run", "a-run", *OUT],
}


KINDS = {int: "integer", float: "float", str: "text", Path: "path", bool: "boolean"}


class Option(NamedTuple):
    """One option or argument of a command."""

    command: str  # "dreamlift train image"
    name: str  # "first_stage"
    flag: str  # "--first-stage"; empty for an argument
    kind: str  # "float", "integer", "path", "text", "choice" or "boolean"
    values: int  # that it takes

    def given(self, value: str) -> list[str]:
        """Arguments that give it this value, the last one where it takes several."""
        before = {"float": "0", "integer": "1"}.get(self.kind, "picture.png")
        flag = [self.flag] if self.flag else []
        if flag and self.values == 1 and value.startswith("-"):
            return [f"{self.flag}={value}"]
        return [*flag, *[before] * (self.values - 1), value]


def options() -> list[Option]:
    """The options of all commands that have a legal call."""
    return [option for name, app in APPS.items() for option in _options(name, typer.main.get_command(app))]


def _options(name: str, command: Any) -> Iterator[Option]:
    for part, below in getattr(command, "commands", {}).items():
        yield from _options(f"{name} {part}", below)
    if name not in LEGAL:
        return
    for parameter in command.params:
        if parameter.name == "help":
            continue
        annotation = parameter.type_descriptor.annotation
        last = get_args(annotation)[-1] if get_origin(annotation) is tuple else annotation
        kind = KINDS.get(last, "choice")
        flag = parameter.opts[0] if parameter.opts[0].startswith("-") else ""
        yield Option(name, parameter.name, flag, kind, max(1, parameter.nargs))
