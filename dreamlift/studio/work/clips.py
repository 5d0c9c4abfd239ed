"""Clips of the studio: checked when they are submitted, made by the same code as those of `gen-video`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from core.batches.prompt_file import PromptRow
from core.command_line.progress import PreviewTimer
from core.errors import UserError
from core.io.clips.formats import FORMATS, check_alpha
from core.io.clips.write import write_clip
from core.io.files.names import slug
from core.io.machine import pick_device
from core.io.pictures import to_frames
from core.io.presets import load_preset
from core.io.values import shortened
from core.samplers import SamplerState
from core.toybox.prompts import sentences
from dreamlift.studio.library import Library
from dreamlift.studio.models import LoadedModels
from dreamlift.studio.work.job import Report
from dreamlift.studio.work.submissions import PRESET_FOLDERS, Kind, Submission
from video.estimates.requirements import check_clips
from video.find_model import find_model
from video.job import ClipJob
from video.model_reference import ModelReference, NativeModelReference, settle
from video.options import OF_THE_MODEL, ClipOptions, preset_of_tier
from video.text_to_video import sample_clip

PREVIEW_EVERY = 1.0  # s
SIDE = 256  # px, of clips whose options do not say
OPTIONS = ClipOptions.model_fields.keys() - {"model", "context_parallel"}  # that submissions may have
FILES = ("image", "video", "interpolate")  # options that name files


@dataclass(frozen=True)
class ClipWork:
    """A clip to make, which has been checked."""

    submission: Submission
    options: ClipOptions
    reference: ModelReference
    preset: str
    library: Library
    models: LoadedModels
    previews: Path  # folder of previews
    kind: Kind = "clip"

    @property
    def prompt(self) -> str:
        """What the clip shows."""
        return self.submission.prompt

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.submission.seed

    def make(self, report: Report) -> list[str]:
        """Makes the clip; returns the names of its files."""
        device = pick_device()
        options = self.reference.with_tier(self.options, device)
        report.begin("loading the model")
        model = self.models.get(
            "clip",
            self._model_key(options),
            not isinstance(self.reference, NativeModelReference),
            lambda: self.reference.open(options, device, force=False),
        )
        job, complete = ClipJob(self.prompt, self.seed, Path("clip.mp4")), self.submission.complete
        if self.reference.bundled and complete:
            by_hand = self.submission.options
            job = job.with_reading(
                by_hand.get("azimuth"), by_hand.get("elevation"), fill=not options.has_given_frames
            )
            for sentence in sentences([job.reading] if job.reading else []):
                report.note(sentence)
        report.begin("sampling", options.steps)
        decode = None if options.offload else model.preview_frames
        on_step = _Monitor(report, decode, self.previews / "clip.webp", options.fps)
        clip = sample_clip(
            model,
            job,
            options,
            preset=self.preset,
            device=device,
            on_step=on_step,
            complete=complete,
        )
        report.begin("writing the files")
        ending = self.submission.format or FORMATS[0]
        files = clip.save(self.library.free_name(slug(self.prompt), ending))
        return [file.name for file in files]

    def _model_key(self, options: ClipOptions) -> tuple[object, ...]:
        """What a loaded model depends on. Checkpoints are checked against the memory for a size of clips."""
        of_model = tuple(getattr(options, name) for name in sorted(OF_THE_MODEL))
        if isinstance(self.reference, NativeModelReference):
            return of_model
        return *of_model, options.frames, options.width, options.height


class _Monitor:
    """Called after each sampling step: reports it, and shows what the clip looks like so far."""

    def __init__(
        self, report: Report, decode: Callable[[Tensor], Tensor] | None, file: Path, fps: float
    ) -> None:
        """decode: the model's, for previews; None draws none. file: of the previews."""
        self.report, self.decode, self.file, self.fps = report, decode, file, fps
        self.timer = PreviewTimer(PREVIEW_EVERY)

    def __call__(self, state: SamplerState) -> None:
        self.report.step(state.step, state.steps)
        if state.step == state.steps:
            self.report.begin("decoding")
        elif self.decode and (state.step == 1 or self.timer.due):
            with self.timer:
                self._show(self.decode, state.x0)

    def _show(self, decode: Callable[[Tensor], Tensor], x0: Tensor) -> None:
        try:
            (clip,) = decode(x0)
        except (RuntimeError, UserError):  # out of memory, for example: sampling goes on without previews
            self.decode = None
            return
        frames = to_frames(clip.float().cpu().numpy())
        write_clip(self.file, frames, self.fps if len(frames) > 1 else 1.0)
        self.report.preview(self.file)


def plan_clip(submission: Submission, library: Library, models: LoadedModels, previews: Path) -> ClipWork:
    """The work of a submission. Raises UserError for what cannot be made, before any model is loaded."""
    if not submission.prompt.strip():
        raise UserError("The prompt is empty.")
    if submission.format not in (None, *FORMATS):
        raise UserError(f"Clips cannot be written as {submission.format}: give {', '.join(FORMATS)}.")
    changes = _changes(submission.options, library)
    preset = submission.preset or preset_of_tier(changes.get("tier"))
    options = _preset(preset) if preset else None
    reference = find_model(submission.model or (options and options.model))
    preset = preset or reference.preset
    options = (options or _preset(preset)).with_changes(model=submission.model, **changes)
    options = settle(
        reference,
        options,
        [submission.prompt],
        changes.keys(),
    )
    if options.transparent:
        check_alpha(f"the clip{submission.format or FORMATS[0]}")
    side = SIDE * options.scale
    library.limits.check_clip(options.frames, (options.width or side), (options.height or side))
    row = PromptRow(submission.prompt, out=f"clip{submission.format or FORMATS[0]}")
    check_clips(reference, [(row, options)], 1, f"{library.folder}/")
    return ClipWork(submission, options, reference, preset, library, models, previews)


def _preset(name: str) -> ClipOptions:
    return load_preset(f"{PRESET_FOLDERS['clip']}/{name}", ClipOptions)


def _changes(given: dict[str, Any], library: Library) -> dict[str, Any]:
    """The options of a submission, with the files that they name. Raises UserError for unknown ones."""
    for name in given:
        if name not in OPTIONS:
            raise UserError(
                f"{shortened(name)!r} is no option of a clip; there are {', '.join(sorted(OPTIONS))}."
            )
    changes = {name: value for name, value in given.items() if value is not None}
    for name in FILES:
        if name in changes:
            value = changes[name]
            several = isinstance(value, (list, tuple))
            changes[name] = (
                [library.find(str(each)) for each in value] if several else library.find(str(value))
            )
    return changes
