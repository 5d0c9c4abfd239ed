"""Record of a run: a JSON file next to each mesh with its settings, results and quality."""

from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, Field

from core.io.atomic import atomic_write
from dream3d.meshing.fidelity import Fidelity, SurfaceReport
from dream3d.options import ObjectOptions


class ObjectSeconds(BaseModel):
    """Wall-clock times of a run in seconds."""

    load: float  # imports and weights, once per run
    distill: float  # optimization of this object
    mesh: float  # surface, texture and writing all files
    since_start: float  # from the start of the process until all files were written


class ObjectRecord(BaseModel):
    """Everything needed to reproduce an object, and its results."""

    prompt: str
    completed: str | None = None  # the prompt that the model got, if the command rewrote it
    read: str | None = None  # the part of it that the text encoder took, where it is longer
    notes: list[str] = []  # what of the prompt the model cannot express; its negations are in `options`
    seed: int
    options: ObjectOptions
    preset: str
    model: str  # its folder, or the given name or id of the hub
    model_sha256: str  # of the weight files
    stages: dict[str, str] = {}  # sha256 of other weights: weak version, super-resolution
    model_kind: str  # "dreamlift", or the class of the checkpoint's pipeline
    dtype: str  # of the weights
    compute_dtype: str | None = None  # of the image model's convolutions and products; None is `dtype`
    lora: list[str]
    device: str
    versions: dict[str, str]
    iterations: int  # completed; fewer than in the options if the run was interrupted
    faces_seen: int | None  # number of four views around it that the model takes for the front; 1 is sound
    trouble: list[str]  # the latest warnings of the diagnostics
    fidelity: Fidelity
    surface: SurfaceReport
    seconds: ObjectSeconds
    files: dict[str, str]  # sha256 by name, the main file first
    created: datetime = Field(default_factory=lambda: datetime.now(timezone.utc))


def write_record(path: Path, record: ObjectRecord) -> None:
    """Writes the record as JSON. Raises UserError for a folder that is not writable."""
    with atomic_write(path) as draft:
        draft.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_record(path: Path) -> ObjectRecord | None:
    """The record in a file; None where there is none, or another file."""
    try:
        return ObjectRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
