"""The work of the `dream3d` command: from jobs to files, with progress, previews, checkpoints and records."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from rich.console import Console
from rich.progress import Progress

from core.batches.report import write_report
from core.batches.run import BatchJob, Outcome, run_batch
from core.command_line.interruption import catch_interrupts
from core.command_line.progress import PreviewTimer, make_progress
from core.command_line.reporting import report_made, status_console
from core.io.atomic import WriteError
from core.io.files.output_set import draft_output
from core.io.files.plan import PlannedOutput
from core.io.files.record import digests
from core.io.machine import explain_out_of_memory, is_out_of_memory, pick_device, synchronized_time
from core.io.pictures import Frames
from core.io.sheet import write_sheet
from core.io.text import count_of
from dream3d.job import ObjectJob
from dream3d.optimization import checkpoint, diagnostics
from dream3d.optimization.optimize import Optimization, OptimizationState
from dream3d.optimization.view_strategies import resize_images
from dream3d.options import ImageModelReference, ObjectOptions
from dream3d.record import ObjectRecord, ObjectSeconds, read_record, write_record
from dream3d.text_to_3d import LoadedModel, Object3D, finish_object, load_model, start_optimization

PREVIEW_EVERY, SAVE_EVERY = 4.0, 30.0  # s
DIAGNOSE_EVERY = 20  # iterations


class OptimizationMonitor:
    """Called after each iteration: writes previews and checkpoints, and keeps the latest warnings."""

    def __init__(
        self,
        job: ObjectJob,
        optimization: Optimization,
        identity: dict[str, object],
        preview: bool,
        console: Console,
    ) -> None:
        self.job, self.optimization, self.identity = job, optimization, identity
        self.preview_timer = PreviewTimer(PREVIEW_EVERY) if preview else None
        self.console = console
        self.saved = time.perf_counter()
        self.warnings: list[str] = []

    def __call__(self, state: OptimizationState) -> None:
        """Diagnoses, previews and saves one iteration, each at its own interval."""
        if state.iteration % DIAGNOSE_EVERY == 0:
            self.warnings = diagnostics.diagnose(state.result.render).warnings
        if self.preview_timer and self.preview_timer.due:
            with self.preview_timer:
                self._write_preview(state)
        if time.perf_counter() - self.saved > SAVE_EVERY:
            try:
                checkpoint.save(self.job.checkpoint, self.optimization, self.identity, self.job.made)
            except WriteError as error:
                self.console.print(f"{error} The optimization goes on and tries again later.")
            self.saved = time.perf_counter()

    def _write_preview(self, state: OptimizationState) -> None:
        """Writes a preview. Where memory or disk do not suffice, this and all later ones are left out."""
        try:
            frames = _preview_frames(state)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.preview_timer = None
            return
        try:
            write_sheet(self.job.files.preview, frames, self.job.prompt)
        except WriteError as error:
            self.preview_timer = None
            self.console.print(f"{error} There are no more previews.")


def _preview_frames(state: OptimizationState) -> Frames:
    """Frames (2N,H,W,3): the renders, and below them the model's predictions."""
    targets = state.result.targets()
    renders = resize_images(state.result.renders, targets.shape[-1])
    both = torch.cat([renders, targets]).clamp(-1, 1)
    return ((both + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def run_identity(job: ObjectJob, options: ObjectOptions, reference: ImageModelReference) -> dict[str, object]:
    """What a checkpoint must agree with to be resumed: prompt, seed, options and model."""
    run: dict[str, object] = {
        "prompt": job.text,
        "seed": job.seed,
        "options": job.adjusted(options).model_dump(mode="json"),
    }
    return run if reference.bundled else {**run, "model": reference.name, "lora": list(reference.lora)}


@dataclass(frozen=True)
class Run:
    """What the objects of a run have in common. Arguments as in `generate`."""

    loaded: LoadedModel
    preset: str
    preview: bool
    resume: bool
    overwrite: bool
    start: float
    load: float  # s
    console: Console
    progress: Progress

    def make(self, job: ObjectJob, options: ObjectOptions) -> None:
        """Makes one object: writes its files and its record. options: with the model's defaults."""
        with explain_out_of_memory(self.loaded.device, lambda: _less_memory(job)):
            self._make(job, options)

    def _make(self, job: ObjectJob, options: ObjectOptions) -> None:
        began = time.perf_counter()
        reference = self.loaded.reference
        optimization = start_optimization(
            self.loaded.model, job.text, job.adjusted(options), seed=job.seed, bundled=reference.bundled
        )
        if self.resume:
            checkpoint.load(job.checkpoint, optimization)
        identity = run_identity(job, options, reference)
        monitor = OptimizationMonitor(job, optimization, identity, self.preview, self.console)
        task = self.progress.add_task(
            job.mesh.name, total=options.iterations, completed=optimization.iteration
        )
        try:
            with catch_interrupts() as interrupted:
                for state in optimization:
                    monitor(state)
                    self.progress.update(task, completed=state.iteration)
                    if interrupted:
                        break
        finally:
            job.files.preview.unlink(missing_ok=True)
        distilled = synchronized_time(self.loaded.device)
        made = finish_object(optimization, self.loaded, job, preset=self.preset, warnings=monitor.warnings)
        with draft_output(job.files, job.files.lasting if self.overwrite else []) as drafts:
            record = self._write_drafts(job._replace(mesh=drafts.output), made, began, distilled)
        job.checkpoint.unlink(missing_ok=True)
        _print_summary(self.console, job, record, time.perf_counter() - began)
        if interrupted:
            raise interrupted.error()

    def _write_drafts(self, job: ObjectJob, made: Object3D, began: float, distilled: float) -> ObjectRecord:
        """Writes the files of a job into its draft folder, the record last; returns that."""
        files = made.write_files(job)
        written = time.perf_counter()
        seconds = ObjectSeconds(
            load=self.load,
            distill=distilled - began,
            mesh=written - distilled,
            since_start=written - self.start,
        )
        update = {"seconds": seconds, "files": digests(files)}
        record = made.record.model_copy(update=update)
        write_record(job.files.record, record)
        return record

    def is_made(self, job: ObjectJob, options: ObjectOptions) -> bool:
        """Whether the object is there, made to its end by this model with these options."""
        record = read_record(job.files.record)
        if not record or not all((job.mesh.parent / name).is_file() for name in record.files):
            return False
        made = record.completed or record.prompt, record.seed, record.options, record.iterations
        options = job.adjusted(options)
        wanted = job.text, job.seed, options, options.iterations
        weights = record.model_sha256, record.stages, tuple(record.lora), record.dtype
        loaded = self.loaded
        return made == wanted and weights == (
            loaded.sha256,
            loaded.stages,
            loaded.reference.lora,
            loaded.dtype,
        )


def generate(
    jobs: Sequence[tuple[ObjectJob, ObjectOptions]],
    *,
    reference: ImageModelReference,
    device: str,
    preset: str,
    preview: bool,
    resume: bool,
    overwrite: bool,
    start: float,
    skip_existing: bool = False,
    gallery: bool = False,
) -> Outcome:
    """Makes the objects one after another; each writes all its files before the next begins.

    jobs: with the options of each.
    start: `time.perf_counter()` when the process began.
    overwrite: replace files of others that have the names of the objects.
    skip_existing: leave out objects whose records say that they would be the same.
    gallery: write a page and a summary of the folder of the objects.

    Ctrl-C ends the optimization early; the field is then meshed and written as it is. Several processes share
    the jobs, see `run_batch`.

    Raises UserError for a model or device that cannot be used and for checkpoints of other runs, before any
    work, and what goes wrong with a single object.
    """
    chosen = pick_device(device)
    with explain_out_of_memory(chosen, lambda: "give --offload, or a smaller model"):
        loaded = load_model(reference, chosen)
    settled = [(job, loaded.settle(options)) for job, options in jobs]
    if resume:
        for job, options in settled:
            checkpoint.check(job.checkpoint, run_identity(job, options, reference))
    load = synchronized_time(chosen) - start
    console = status_console()
    with make_progress(console) as progress:
        run = Run(loaded, preset, preview, resume, overwrite, start, load, console, progress)
        batch = [
            BatchJob(job.files, partial(run.make, job, options), partial(run.is_made, job, options))
            for job, options in settled
        ]
        outcome = run_batch(batch, skip_existing)
    if gallery:
        planned = [PlannedOutput(job.prompt, job.seed, job.mesh) for job, _ in jobs]
        write_report(planned, batch, outcome, console)
    return outcome


def _less_memory(job: ObjectJob) -> str:
    """What to do where the memory does not suffice."""
    advice = "give --preset draft, fewer views or smaller stages in a preset, or --offload for a checkpoint"
    if job.checkpoint.exists():
        advice += f"; {job.checkpoint} holds the last state, which --resume continues with the same options"
    return advice


def _print_summary(console: Console, job: ObjectJob, record: ObjectRecord, seconds: float) -> None:
    for sentence in record.trouble:
        console.print(f"{job.mesh}: {sentence}")
    facts = {"faces": record.surface.faces, "iterations": record.iterations, "seconds": round(seconds, 2)}
    report_made(
        job.files.there,
        f"{count_of(record.surface.faces, 'face')}, seed {job.seed}, "
        f"{count_of(record.iterations, 'iteration')}, made in {seconds:.0f} s"
        + (f", as: {job.reading.summary}" if job.reading else ""),
        {**job.made._asdict(), **facts},
        console,
    )
