"""How long a job will take and how much memory it needs, before it runs.

The time is that of the latest runs of the same kind and model in the output folder, by the work that they
did. Where there are none, it is that of the bundled models at this machine's matmul rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import median
from typing import NamedTuple

from core.io.clips.formats import FORMATS
from core.io.machine import describe_device, matmul_rate, pick_device
from dream3d import requirements
from dream3d.options import ObjectOptions
from dream3d.record import ObjectRecord
from dream3d.requirements import estimate_object
from dreamlift.studio.history import Entry, model_of
from dreamlift.studio.work.clips import ClipWork
from dreamlift.studio.work.objects import ObjectWork
from dreamlift.studio.work.submissions import Kind
from video import model_reference
from video.estimates.requirements import estimate_clip
from video.options import ClipOptions
from video.record import CheckpointRecord, RunRecord

RUNS = 5  # of the latest, whose median counts
GFLOP: dict[Kind, float] = {"clip": model_reference.GFLOP, "object": requirements.GFLOP}  # of a unit of work


class Estimate(NamedTuple):
    """Expected cost of a job. seconds, and memory in bytes; None where nothing is known."""

    seconds: float | None
    memory: float | None


def estimate(work: ClipWork | ObjectWork, entries: Sequence[Entry]) -> Estimate:
    """The expected cost of a job. entries: of the output folder, the latest first."""
    kind, model, here = work.kind, work.submission.model, describe_device(pick_device())
    records = [
        entry.record
        for entry in entries
        if entry.kind == kind and model_of(entry.record) == model and entry.record.device == here
    ]
    bundled = work.reference.bundled
    pace = median(map(_pace, records[:RUNS])) if records else None
    if pace is None and bundled:
        pace = GFLOP[kind] / _rate()
    memory = next((memory for record in records if (memory := _expected_memory(record))), None)
    if bundled:
        memory = _memory(work)
    return Estimate(None if pace is None else pace * _units(work.options), memory)


def _memory(work: ClipWork | ObjectWork) -> float:
    """Memory of the process, without the weights of checkpoints."""
    if isinstance(work, ObjectWork):
        return estimate_object(work.options).memory
    return estimate_clip(work.reference, work.options, work.submission.format or FORMATS[0]).memory


def _units(options: ClipOptions | ObjectOptions) -> float:
    """Size of a job: denoising steps of single frames, or iterations, with what follows them."""
    if isinstance(options, ObjectOptions):
        return requirements.work_units(options)
    return model_reference.work_units(options)


def _pace(record: RunRecord | ObjectRecord) -> float:
    """Seconds that a run took for one unit."""
    if isinstance(record, ObjectRecord):
        return (record.seconds.distill + record.seconds.mesh) / _units(
            record.options.model_copy(update={"iterations": record.iterations})
        )
    return record.seconds.sample / _units(record.options)


def _expected_memory(record: RunRecord | ObjectRecord) -> float | None:
    """Memory that a checkpoint was expected to need, by an earlier record."""
    if isinstance(record, RunRecord) and isinstance(record.model, CheckpointRecord) and record.model.expected:
        return record.model.expected.memory
    return None


@lru_cache
def _rate() -> float:
    """GFLOP/s of this machine."""
    return matmul_rate(pick_device(), seconds=0.2)
