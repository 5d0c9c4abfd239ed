"""Objects of the studio: checked when they are submitted, made by the same code as those of `dream3d`."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from core.bundled import BUNDLED_NAME, bundled_model
from core.command_line.progress import PreviewTimer
from core.errors import UserError
from core.io.clips.write import write_clip
from core.io.files.names import slug
from core.io.machine import pick_device
from core.io.values import shortened
from core.toybox.prompts import sentences
from dream3d.job import OBJECT, ObjectJob, check_prompt
from dream3d.nerf.cameras import orbit_cameras
from dream3d.nerf.volume_rendering import render
from dream3d.optimization import diagnostics
from dream3d.optimization.optimize import Optimization, OptimizationState
from dream3d.options import OF_A_ROW, ImageModelReference, ObjectOptions, check_model_reference
from dream3d.presets import load_object_preset
from dream3d.requirements import check_objects
from dream3d.text_to_3d import finish_object, load_model, start_optimization
from dreamlift.studio.library import Library
from dreamlift.studio.models import LoadedModels
from dreamlift.studio.work.job import Report
from dreamlift.studio.work.submissions import Kind, Submission

PREVIEW_EVERY = 3.0  # s
TURN, SIZE = 12, 64  # frames of a preview, around the object, and their size in pixels
SLOW = 6.0  # frames per second: a turn takes two seconds
PAPER = 0.94  # gray behind previews
DIAGNOSE_EVERY = 20  # iterations
OF_THE_MODEL = ("dtype", "lora", "offload")  # options that say how the model is loaded


@dataclass(frozen=True)
class ObjectWork:
    """An object to make, which has been checked."""

    submission: Submission
    options: ObjectOptions
    reference: ImageModelReference
    preset: str
    library: Library
    models: LoadedModels
    previews: Path  # folder of previews
    kind: Kind = "object"

    @property
    def prompt(self) -> str:
        """What the object is."""
        return self.submission.prompt

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.submission.seed

    def make(self, report: Report) -> list[str]:
        """Makes the object; returns the names of its files."""
        report.begin("loading the model")
        reference = self.reference
        small = bundled_model(self.submission.model or BUNDLED_NAME) is not None
        loaded = self.models.get("object", reference, not small, lambda: load_model(reference, pick_device()))
        model = loaded.model
        options = loaded.settle(self.options)
        job = ObjectJob(self.prompt, self.seed, Path("object.obj"))
        if reference.bundled and self.submission.complete:
            job = job.with_reading()
            for sentence in sentences([job.reading] if job.reading else []):
                report.note(sentence)
        optimization = start_optimization(
            model, job.text, job.adjusted(options), seed=job.seed, bundled=reference.bundled
        )
        began = time.perf_counter()
        report.begin("optimizing", options.iterations)
        monitor = _Monitor(report, optimization, self.previews / "object.webp")
        for state in optimization:
            monitor(state)
        optimized = time.perf_counter()
        report.begin("extracting the mesh")
        made = finish_object(optimization, loaded, job, preset=self.preset, warnings=monitor.warnings)
        seconds = made.record.seconds.model_copy(update={"distill": optimized - began})
        made = replace(made, record=made.record.model_copy(update={"seconds": seconds}))
        report.begin("writing the files")
        ending = self.submission.format or OBJECT.extensions[0]
        files = made.save(self.library.free_name(slug(self.prompt), ending))
        return [file.name for file in files]


class _Monitor:
    """Called after each iteration: reports it, and shows the field from all around."""

    def __init__(self, report: Report, optimization: Optimization, file: Path) -> None:
        self.report, self.optimization, self.file = report, optimization, file
        self.timer = PreviewTimer(PREVIEW_EVERY)
        self.warnings: list[str] = []  # the latest, of the diagnostics

    def __call__(self, state: OptimizationState) -> None:
        self.report.step(state.iteration, state.iterations)
        if state.iteration % DIAGNOSE_EVERY == 0:
            self.warnings = diagnostics.diagnose(state.result.render).warnings
        if self.timer.due:
            with self.timer:
                self._show()

    @torch.no_grad()
    def _show(self) -> None:
        views = self.optimization.views
        stage = self.optimization.options.stages[self.optimization.stage]
        shown = render(
            views.field,
            orbit_cameras(TURN),
            SIZE,
            stage.samples,
            torch.full((3,), PAPER),
            occupancy=views.occupancy,
        )
        frames = (shown.color.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        write_clip(self.file, frames, SLOW)
        self.report.preview(self.file)


def plan_object(submission: Submission, library: Library, models: LoadedModels, previews: Path) -> ObjectWork:
    """The work of a submission. Raises UserError for what cannot be made, before any model is loaded."""
    check_prompt(submission.prompt)
    if submission.format not in (None, *OBJECT.extensions):
        known = ", ".join(OBJECT.extensions)
        raise UserError(f"Objects cannot be written as {submission.format}: give {known}.")
    changes: dict[str, Any] = {name: value for name, value in submission.options.items() if value is not None}
    known = OF_A_ROW | {*OF_THE_MODEL}
    for name in changes:
        if name not in known:
            raise UserError(
                f"{shortened(name)!r} is no option of an object; there are {', '.join(sorted(known))}."
            )
    name = submission.model or BUNDLED_NAME
    reference = ImageModelReference(
        str(bundled_model(name) or name),
        name == BUNDLED_NAME,
        changes.pop("dtype", None),
        tuple(changes.pop("lora", ())),
        bool(changes.pop("offload", False)),
    )
    preset, defaults = load_object_preset(submission.preset, reference, changes.get("tier"))
    options = defaults.with_changes(**changes)
    check_model_reference(reference, options)
    ending = submission.format or OBJECT.extensions[0]
    ObjectJob(submission.prompt, submission.seed, Path(f"object{ending}")).check_files(options)
    library.limits.check_iterations(options.iterations)
    check_objects([options], 1, f"{library.folder}/")
    return ObjectWork(submission, options, reference, preset, library, models, previews)
