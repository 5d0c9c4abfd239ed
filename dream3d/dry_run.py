"""`dream3d --dry-run`: the objects that would be made, and what they would take."""

from __future__ import annotations

from collections.abc import Sequence

from core.batches.dry_run import Forecast, print_forecast
from core.batches.requirements import Requirements
from core.bundled import BUNDLED_NAME
from core.io.machine import matmul_rate, pick_device
from core.io.text import count_of
from dream3d.job import ObjectJob
from dream3d.options import ImageModelReference, ObjectOptions, check_offload
from dream3d.requirements import GFLOP, work_units


def forecast_objects(
    objects: Sequence[tuple[ObjectJob, ObjectOptions]],
    reference: ImageModelReference,
    preset: str,
    *,
    device: str,
    needed: Requirements,
) -> None:
    """Prints what would be made. needed: memory and disk. Other arguments as in `dream3d.generate.generate`.

    Raises UserError where the device is not there.
    """
    chosen = pick_device(device)
    check_offload(reference, chosen.type)
    seconds = None
    if reference.bundled:
        units = sum(work_units(options) for _, options in objects)
        seconds = GFLOP * units / matmul_rate(chosen, seconds=0.2)
    outputs = [_forecast(job, options, preset) for job, options in objects]
    print_forecast(outputs, BUNDLED_NAME if reference.bundled else reference.name, needed, seconds)


def _forecast(job: ObjectJob, options: ObjectOptions, preset: str) -> Forecast:
    facts = {"preset": preset, "iterations": options.iterations, "loss": options.loss}
    facts |= {"faces": options.faces, "texture": options.texture}
    sentence = (
        f"preset {preset}, {count_of(options.iterations, 'iteration')} of {options.loss}, up to "
        f"{count_of(options.faces, 'face')}" + (f", as: {job.reading.summary}" if job.reading else "")
    )
    return Forecast(job.files, job.made, sentence, facts)
