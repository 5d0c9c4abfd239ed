"""What people ask the studio for: the body of POST /api/jobs, and what the page submits."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.errors import UserError
from core.io.presets import CONFIGS, validate
from dreamlift.studio.limits import Limits

Kind = Literal["clip", "object"]
PRESET_FOLDERS: dict[Kind, str] = {"clip": "gen-video", "object": "dream3d"}  # in configs/
LARGEST_SEED = 2**63 - 1


class Submission(BaseModel):
    """A clip or an object to make. What is not given is the preset's, as in `gen-video` and `dream3d`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "clip"
    prompt: str
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    model: str | None = None  # "emoji", a folder, or a name or id of the hub; None: the bundled one
    preset: str | None = None  # None: the one that fits the model
    format: str | None = None  # ending of the main file, such as ".gif"; None: .mp4, or .obj
    complete: bool = True  # read the prompt into words that the bundled model knows
    options: dict[str, Any] = {}  # by their names in presets; pictures and clips by their names in the folder


def read_submission(values: object, limits: Limits) -> Submission:
    """A submission from JSON values. Raises UserError that names what is wrong with them."""
    submission = validate(values, Submission, "The submission")
    limits.check_prompt(submission.prompt)
    negative = submission.options.get("negative")
    if isinstance(negative, str):
        limits.check_prompt(negative, "negative prompt")
    known = preset_names(submission.kind)
    if submission.preset not in (None, *known):
        raise UserError(f"There is no preset {submission.preset[:40]!r}; there are {', '.join(known)}.")
    return submission


def preset_names(kind: Kind) -> list[str]:
    """Names of the presets of clips or objects."""
    return sorted(path.stem for path in (CONFIGS / PRESET_FOLDERS[kind]).glob("*.yaml"))
