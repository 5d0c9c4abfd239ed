"""`dream3d --replay`: makes the object of a record once more and compares the bytes. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.batches.prompt_file import PromptRow, plan_rows
from core.bundled import BUNDLED
from core.errors import UserError
from core.io.files.plan import Replacing
from core.io.files.replay import differences, other_files, read_record_of, replay_name, report
from core.toybox.prompts import PromptReading
from dream3d.job import OBJECT, ObjectJob
from dream3d.options import ImageModelReference
from dream3d.record import ObjectRecord, read_record


def replay(path: Path, out: str | None, *, device: str, overwrite: bool, preview: bool, start: float) -> bool:
    """Makes the object of the record in a file; prints whether its bytes are the same, and returns it.

    out: its name, "-replay" after that of the first object unless given. start: as in `dream3d.generate`.

    Raises UserError for a file that is no record, and for the record of an interrupted run.
    """
    record = read_record_of(path, read_record, "dream3d")
    if record.iterations < record.options.iterations:
        raise UserError(
            f"The run of {path} was interrupted after iteration {record.iterations} of "
            f"{record.options.iterations}, which cannot be made again."
        )
    native = record.model_kind == "dreamlift"
    options = record.options
    if native and options.tier is None:  # from before there were tiers
        options = options.with_changes(tier="exact")
    reference = ImageModelReference(
        record.model,
        bundled=Path(record.model).resolve() == (BUNDLED / "image").resolve(),
        dtype=None if native else record.dtype,
        lora=tuple(record.lora),
    )
    name = out or replay_name(record.files, path, OBJECT)
    replacing = Replacing(overwrite=overwrite, inputs=(path,))
    (planned,) = plan_rows([PromptRow(record.prompt)], 1, record.seed, name, OBJECT, replacing)
    job = ObjectJob(*planned)
    job.check_files(record.options)
    if record.completed is not None:
        job = job._replace(reading=PromptReading(record.prompt, record.completed))

    from dream3d.generate import generate

    generate(
        [(job, options)],
        reference=reference,
        device=device,
        preset=record.preset,
        preview=preview,
        resume=False,
        overwrite=overwrite,
        start=start,
    )
    made = read_record(OBJECT.files(job.mesh).record)
    assert made  # which `generate` has written
    others = other_files(record.files, made.files)
    return report(path, job.mesh, others, differences(_facts(record), _facts(made)))


def _facts(record: ObjectRecord) -> dict[str, Any]:
    """What the bytes of an object depend on besides its options, by name."""
    weights = {"weights": record.model_sha256, **record.stages, "dtype": record.compute_dtype or record.dtype}
    return {**weights, **record.versions, "device": record.device}
