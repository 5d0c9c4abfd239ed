"""The run record: a JSON file beside each mesh that says how it was made and how sound it is."""

from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, Field

from core.io.atomic import atomic_write
from dream3d.meshing.fidelity import Fidelity, SurfaceReport
from dream3d.options import ObjectOptions


class ObjectSeconds(BaseModel):
    """Wall-clock times of a run."""

    load: float  # imports and weights, once a run
    distill: float  # this object
    mesh: float  # surface, texture and all files
    since_start: float  # from the start of the process until all files were written


class ObjectRecord(BaseModel):
    """Everything needed to make the same object again, and what came out."""

    prompt: str
    completed: str | None = None  # what the model was told instead
    seed: int
    options: ObjectOptions
    preset: str
    model: str  # its folder, or the name or id of the hub that was given
    model_sha256: str  # of the files with the network's weights
    model_kind: str  # "dreamlift", or the class of the checkpoint's pipeline
    dtype: str  # of the weights
    lora: list[str]
    device: str
    versions: dict[str, str]
    iterations: int  # done; fewer than the options' where the run was stopped
    faces_seen: int | None  # of four views around it, how many the model takes for the front; 1 is sound
    trouble: list[str]  # what the monitors said last
    fidelity: Fidelity
    surface: SurfaceReport
    seconds: ObjectSeconds
    files: list[str]
    created: datetime = Field(default_factory=lambda: datetime.now(timezone.utc))


def write_record(path: Path, record: ObjectRecord) -> None:
    """Writes the record as JSON. Raises UserError in an unwritable folder."""
    with atomic_write(path) as draft:
        draft.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
