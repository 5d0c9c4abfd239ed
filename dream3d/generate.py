"""The work of the `dream3d` command: from jobs to files, with progress, previews, checkpoints and records."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from rich.console import Console

from core.io.interruption import catch_interrupts
from core.io.machine import pick_device
from core.io.pictures import Frames
from core.io.progress import PreviewTimer, make_progress
from core.io.sheet import write_sheet
from dream3d.optimization import checkpoint, diagnostics
from dream3d.optimization.optimize import Optimization, OptimizationState
from dream3d.optimization.view_strategies import resize_images
from dream3d.options import ImageModelReference, ObjectJob, ObjectOptions
from dream3d.record import ObjectRecord, ObjectSeconds, write_record
from dream3d.text_to_3d import finish_object, load_model, start_optimization

PREVIEW_EVERY, SAVE_EVERY = 4.0, 30.0  # s
DIAGNOSE_EVERY = 20  # iterations


class OptimizationMonitor:
    """Called after each iteration: writes previews and checkpoints, and keeps the latest warnings."""

    def __init__(
        self, job: ObjectJob, optimization: Optimization, identity: dict[str, object], preview: bool
    ) -> None:
        self.job, self.optimization, self.identity = job, optimization, identity
        self.preview_timer = PreviewTimer(PREVIEW_EVERY) if preview else None
        self.saved = time.perf_counter()
        self.warnings: list[str] = []

    def __call__(self, state: OptimizationState) -> None:
        """Diagnoses, previews and saves one iteration, each at its own interval."""
        if state.iteration % DIAGNOSE_EVERY == 0:
            self.warnings = diagnostics.diagnose(state.result.render).warnings
        if self.preview_timer and self.preview_timer.due:
            with self.preview_timer:
                write_sheet(self.job.preview, _preview_frames(state), self.job.prompt)
        if time.perf_counter() - self.saved > SAVE_EVERY:
            checkpoint.save(self.job.checkpoint, self.optimization, self.identity)
            self.saved = time.perf_counter()


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


def generate(
    jobs: Sequence[ObjectJob],
    options: ObjectOptions,
    *,
    reference: ImageModelReference,
    device: str,
    preset: str,
    preview: bool,
    resume: bool,
    start: float,
) -> None:
    """Makes the objects one after another; each writes all its files before the next begins.

    options: defaults that depend on the model are filled in, see `ObjectOptions.with_model_defaults`.
    start: `time.perf_counter()` when the process began.

    Ctrl-C ends the optimization early; the field is then meshed and written as it is.

    Raises UserError for a model or device that cannot be used and for checkpoints of other runs, before any
    work.
    """
    loaded = load_model(reference, pick_device(device))
    model = loaded.model
    options = options.with_model_defaults(model.reads_attributes, model.first_stage is not None)
    identities = [run_identity(job, options, reference) for job in jobs]
    if resume:
        for job, identity in zip(jobs, identities, strict=True):
            checkpoint.check(job.checkpoint, identity)
    load = time.perf_counter() - start

    console = Console(stderr=True)
    with make_progress(console) as progress:
        for job, identity in zip(jobs, identities, strict=True):
            began = time.perf_counter()
            optimization = start_optimization(
                model, job.text, job.adjusted(options), seed=job.seed, bundled=reference.bundled
            )
            if resume:
                checkpoint.load(job.checkpoint, optimization)
            monitor = OptimizationMonitor(job, optimization, identity, preview)
            task = progress.add_task(
                job.mesh.name, total=options.iterations, completed=optimization.iteration
            )
            with catch_interrupts() as interrupted:
                for state in optimization:
                    monitor(state)
                    progress.update(task, completed=state.iteration)
                    if interrupted():
                        break
            distilled = time.perf_counter()
            made = finish_object(optimization, loaded, job, preset=preset, warnings=monitor.warnings)
            files = made.write_files(job)
            job.preview.unlink(missing_ok=True)
            job.checkpoint.unlink(missing_ok=True)
            written = time.perf_counter()
            seconds = ObjectSeconds(
                load=load,
                distill=distilled - began,
                mesh=written - distilled,
                since_start=written - start,
            )
            update = {"seconds": seconds, "files": [file.name for file in files]}
            record = made.record.model_copy(update=update)
            write_record(job.record, record)
            _print_summary(console, job, record, written - began)
            if interrupted():
                raise KeyboardInterrupt


def _print_summary(console: Console, job: ObjectJob, record: ObjectRecord, seconds: float) -> None:
    for sentence in record.trouble:
        console.print(f"{job.mesh}: {sentence}", highlight=False)
    console.print(
        f"{job.mesh}: {record.surface.faces} faces, seed {job.seed}, {record.iterations} iterations, "
        f"made in {seconds:.0f} s" + (f", as: {job.reading.summary}" if job.reading else ""),
        highlight=False,
    )
