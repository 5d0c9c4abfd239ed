"""Run record: the JSON file of each clip that states how it was made."""

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, Field

from core.bundled import BUNDLED_VIDEO, weak_version
from core.io.atomic import atomic_write
from core.io.base_model import CONFIG, base_folder, stored_sha256
from video.options import ClipOptions


class ModelRecord(BaseModel):
    """Weights of a model in this project's format."""

    folder: str
    sha256: str  # of its model.safetensors
    image_sha256: str | None  # of the image model that the folder builds on, if any
    stages: dict[str, str] = {}  # sha256 of the other weights: weak version, later stages, distilled model
    compute_dtype: str = "float32"  # of convolutions and matrix products, see `core.tiers`


class ExpectedCost(BaseModel):
    """Estimated cost of a clip, from before it was sampled."""

    memory: int  # of the device, bytes
    seconds: float


class CheckpointRecord(BaseModel):
    """Weights of a pretrained checkpoint."""

    folder: str  # a snapshot of the hub has its revision in its name
    pipeline: str  # the class of diffusers that ran it
    dtype: str
    sha256: dict[str, str]  # by file, LoRA and motion adapters included
    expected: ExpectedCost | None = None  # None with --force


class Seconds(BaseModel):
    """Wall-clock times of a run."""

    load: float  # imports and weights, once per run
    sample: float  # this clip; of several sampled together, its share
    write: float  # this clip's upscaling, encoding and contact sheet
    since_start: float  # from the start of the process until this clip was written


class RunRecord(BaseModel):
    """Everything needed to make the same clip again, and what it cost."""

    prompt: str
    completed: str | None = None  # the prompt as it was drawn, see `gen-video --complete`
    read: str | None = None  # the part of it that the text encoder took, where it is longer
    notes: list[str] = []  # what of the prompt the model cannot draw; its view and negations are in `options`
    seed: int
    options: ClipOptions
    preset: str
    model: ModelRecord | CheckpointRecord
    device: str
    versions: dict[str, str]
    size: tuple[int, int]  # width, height in the file, px
    seconds: Seconds
    gflop: (
        float | None
    )  # the denoising steps, as torch counts them; None where it cannot: for one step, for several windows
    batch: int = 1  # clips that were sampled in one call: the number changes how sums are rounded
    files: dict[str, str]  # sha256 by name, the main file first
    request: str = ""  # hash of what the files depend on, by which a run recognizes that they are there
    created: datetime = Field(default_factory=lambda: datetime.now(timezone.utc))


def read_model_record(
    folder: Path, stages: Mapping[str, Path | None] | None = None, compute_dtype: str = "float32"
) -> ModelRecord:
    """What a model folder says of itself, once `VideoModel.load` has found it whole.

    stages: folders of the later stages of its cascade, by their names.
    compute_dtype: in which it is run.
    """
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    of_clips = "model" in config  # else an image model, which the bundled temporal layers move
    base = config["base"] if of_clips else None
    image = (base_folder(folder) if base else None) or folder
    found = {"weak": weak_version(image), "temporal": None if of_clips else BUNDLED_VIDEO, **(stages or {})}
    hashes = {name: stored_sha256(path) for name, path in found.items() if path}
    return ModelRecord(
        folder=str(folder),
        sha256=config["sha256"],
        image_sha256=base and base["sha256"],
        stages=hashes,
        compute_dtype=compute_dtype,
    )


def write_record(path: Path, record: RunRecord) -> None:
    """Writes the record as JSON. Raises UserError in an unwritable folder."""
    with atomic_write(path) as draft:
        draft.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_record(path: Path) -> RunRecord | None:
    """The record in a file; None where there is none, or another file."""
    try:
        return RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
