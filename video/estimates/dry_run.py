"""`gen-video --dry-run`: the clips that would be made, and what they would take."""

from __future__ import annotations

from collections.abc import Sequence

from core.batches.dry_run import Forecast, print_forecast
from core.batches.requirements import Requirements
from core.bundled import BUNDLED_NAME
from core.io.machine import pick_device
from core.io.text import count_of
from video.job import ClipJob
from video.model_reference import ModelReference
from video.options import ClipOptions


def forecast_clips(
    clips: Sequence[tuple[ClipJob, ClipOptions]],
    reference: ModelReference,
    preset: str,
    *,
    device: str,
    needed: Requirements,
    force: bool,
) -> None:
    """Prints what would be made. needed: memory and disk. Other arguments as in `video.generate.generate`.

    Raises UserError where the device, or the memory for the model, is not there.
    """
    chosen = pick_device(device)
    costs = {id(options): reference.expected_cost(options, chosen, force) for _, options in clips}
    known = [cost for _, options in clips if (cost := costs[id(options)])]
    outputs = [_forecast(job, options, reference, preset) for job, options in clips]
    memory = max([needed.memory, *(cost.memory for cost in known)])
    seconds = sum(cost.seconds for cost in known) if len(known) == len(clips) else None
    model = clips[0][1].model or BUNDLED_NAME
    print_forecast(outputs, model, Requirements(memory, needed.disk), seconds)


def _forecast(job: ClipJob, options: ClipOptions, reference: ModelReference, preset: str) -> Forecast:
    options = job.adjusted(options)
    frames, height, width = reference.output_shape(options)
    width, height = width * options.scale, height * options.scale
    facts = {"frames": frames, "fps": options.fps, "width": width, "height": height, "preset": preset}
    facts |= {"steps": options.steps, "guidance": options.guidance, "sampler": options.sampler}
    sentence = (
        f"{count_of(frames, 'frame')}, {options.fps:g} a second, {width}x{height}, preset {preset}, "
        f"{count_of(options.steps, 'step')}, guidance {options.guidance:g}"
        + (f", drawn as: {job.reading.summary}" if job.reading else "")
    )
    return Forecast(job.files, job.made, sentence, facts)
