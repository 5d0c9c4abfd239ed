"""`gen-video --replay`: makes the clip of a record once more and compares the bytes. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.batches.prompt_file import PromptRow
from core.io.files.plan import Replacing
from core.io.files.replay import differences, other_files, read_record_of, replay_name, report
from core.toybox.prompts import PromptReading
from video.find_model import find_model
from video.job import CLIP, plan_clips
from video.record import ModelRecord, RunRecord, read_record


def replay(path: Path, out: str | None, *, device: str, overwrite: bool, preview: bool, start: float) -> bool:
    """Makes the clip of the record in a file; prints whether its bytes are the same, and returns it.

    out: its name, "-replay" after that of the first clip unless given. start: as in `video.generate`.

    Raises UserError for a file that is no record, and for models and given files that are no longer there.
    """
    record = read_record_of(path, read_record, "gen-video")
    options = record.options
    if isinstance(record.model, ModelRecord) and options.tier is None:  # from before there were tiers
        options = options.with_changes(tier="exact")
    reference = find_model(options.model)
    replacing = Replacing(overwrite=overwrite, inputs=(path, *options.given_files))
    name = out or replay_name(record.files, path, CLIP)
    (job,) = plan_clips([PromptRow(record.prompt)], 1, record.seed, name, replacing)
    if record.completed is not None:
        job = job._replace(reading=PromptReading(record.prompt, record.completed))

    from video.generate import generate

    generate(
        [(job, options)],
        reference=reference,
        device=device,
        preset=record.preset,
        preview=preview,
        resume=False,
        overwrite=overwrite,
        force=True,
        start=start,
    )
    made = read_record(CLIP.files(job.clip).record)
    assert made  # which `generate` has written
    others = other_files(record.files, made.files)
    return report(path, job.clip, others, differences(_facts(record), _facts(made)))


def _facts(record: RunRecord) -> dict[str, Any]:
    """What the bytes of a clip depend on besides its options, by name."""
    weights = record.model.model_dump(mode="json", exclude={"folder", "expected"})
    facts = {**record.versions, "device": record.device, "batch": record.batch, "request": record.request}
    return {name: value for name, value in {**weights, **facts}.items() if value is not None}
