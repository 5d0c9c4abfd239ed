"""What people ask the studio for: the body of POST /api/jobs, and what the page submits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.errors import UserError
from core.io.presets import CONFIGS, validate
from core.io.values import SEEDS, shortened
from dreamlift.studio.limits import Limits

Kind = Literal["clip", "object"]
PRESET_FOLDERS: dict[Kind, str] = {"clip": "gen-video", "object": "dream3d"}  # in configs/


class Submission(BaseModel):
    """A clip or an object to make. What is not given is the preset's, as in `gen-video` and `dream3d`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "clip"
    prompt: str
    seed: int = Field(0, ge=0, lt=SEEDS)
    model: str | None = None  # "emoji", a folder, or a name or id of the hub; None: the bundled one
    preset: str | None = None  # None: the one that fits the model
    format: str | None = None  # ending of the main file, such as ".gif"; None: .mp4, or .obj
    complete: bool = True  # read the prompt into words that the bundled model knows
    options: dict[str, Any] = {}  # by their names in presets; pictures and clips by their names in the folder


def read_submission(values: object, limits: Limits) -> Submission:
    """A submission from JSON values. Raises UserError that names what is wrong with them."""
    if isinstance(values, Mapping):
        given: Mapping[str, Any] = values
        options: Any = given.get("options")
        limits.check_prompt(given.get("prompt"))
        if isinstance(options, Mapping):
            limits.check_prompt(options.get("negative"), "negative prompt")
    submission = validate(values, Submission, "The submission")
    known = preset_names(submission.kind)
    if submission.preset not in (None, *known):
        raise UserError(f"There is no preset {shortened(submission.preset)!r}; there are {', '.join(known)}.")
    return submission


def preset_names(kind: Kind) -> list[str]:
    """Names of the presets of clips or objects."""
    return sorted(path.stem for path in (CONFIGS / PRESET_FOLDERS[kind]).glob("*.yaml"))
