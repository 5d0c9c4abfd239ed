"""From jobs to files: distillation with progress and previews, then mesh, pictures, viewer and record."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from core.io.interruption import catch_interrupts
from core.io.machine import describe_device, package_versions, pick_device
from core.io.sheet import write_sheet
from core.models.image_model import ImageModelLike
from core.pretrained.hub import checkpoint_kind, resolve_checkpoint, weights_sha256
from core.pretrained.image_model import load_image_model
from dream3d.distill import make_model_space
from dream3d.meshing.pipeline import mesh_field, orbit_cameras, write_object_files
from dream3d.nerf.radiance_fields import HashField, VoxelField
from dream3d.nerf.volume_rendering import render
from dream3d.optimization import checkpoint
from dream3d.optimization import diagnostics as monitors
from dream3d.optimization.backgrounds import learned_color, plain_backdrops
from dream3d.optimization.build_loss import build_distillation
from dream3d.optimization.optimize import Optimization, OptimizationState
from dream3d.optimization.view_strategies import resize_images
from dream3d.options import ImageModelReference, ObjectJob, ObjectOptions
from dream3d.record import ObjectRecord, ObjectSeconds, write_record

PREVIEW_EVERY, SAVE_EVERY = 4.0, 30.0  # s
PREVIEW_COST = 10  # times what a preview took pass before the next: decoders of large checkpoints are slow
LOOK_EVERY = 20  # iterations between looks at the object's health
PHASE = 0.0  # of the action's loop: a mesh stands still


class ProgressCallback:
    """What happens after each iteration: previews, checkpoints, and a word when something goes wrong."""

    def __init__(
        self, job: ObjectJob, optimization: Optimization, identity: dict[str, object], preview: bool
    ) -> None:
        self.job, self.optimization, self.identity, self.preview = job, optimization, identity, preview
        self.shown = self.saved = time.perf_counter()
        self.pause = PREVIEW_EVERY
        self.trouble: list[str] = []

    def __call__(self, state: OptimizationState) -> None:
        now = time.perf_counter()
        if state.iteration % LOOK_EVERY == 0:
            self.trouble = monitors.diagnose(state.result.render).warnings
        if self.preview and now - self.shown > self.pause:
            write_sheet(self.job.preview, _seen_and_wanted(state), self.job.prompt)
            self.shown = time.perf_counter()
            self.pause = max(PREVIEW_EVERY, PREVIEW_COST * (self.shown - now))
        if now - self.saved > SAVE_EVERY:
            checkpoint.save(self.job.checkpoint, self.optimization, self.identity)
            self.saved = now


def _seen_and_wanted(state: OptimizationState):
    """Frames (2N,H,W,3) uint8: the renders, and below them what the model would have them be."""
    wanted = state.result.targets()
    seen = resize_images(state.result.renders, wanted.shape[-1])
    both = torch.cat([seen, wanted]).clamp(-1, 1)
    return ((both + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def run_identity(job: ObjectJob, options: ObjectOptions, source: ImageModelReference) -> dict[str, object]:
    """What a checkpoint of a run must be of, to go on with it."""
    run = {"prompt": job.text, "seed": job.seed, "options": options.model_dump(mode="json")}
    return run if source.bundled else {**run, "model": source.name, "lora": list(source.lora)}


def start_optimization(
    job: ObjectJob, model: ImageModelLike, options: ObjectOptions, bundled: bool
) -> Optimization:
    """The distillation of a job, at its beginning. bundled: the model knows the toybox's backdrops."""
    torch.manual_seed(job.seed)  # the hash grid draws its start
    field = HashField() if options.field == "hash" else VoxelField(options.stages[0].grid)
    scenery = (plain_backdrops if bundled else learned_color)(job.text, model.encode)
    return Optimization(
        field.to(model.device),
        build_distillation(model, job.text, options, job.seed),
        scenery,
        options,
        size=model.size,
        seed=job.seed,
        phase=PHASE if bundled else None,
    )


def count_front_views(optimization: Optimization, model: ImageModelLike) -> int | None:
    """How many of four views around the object the model itself takes for its front; 1 is sound.

    None for models that are not told the camera.
    """
    if optimization.options.camera != "input":
        return None
    cameras = orbit_cameras(4)
    stage = optimization.options.stages[-1]
    backdrop = optimization.backgrounds.paint(0, stage.size)
    with torch.no_grad():
        seen = render(
            optimization.field,
            cameras,
            stage.size,
            stage.samples,
            backdrop.expand(4, -1, -1, -1),
            shader=optimization.backgrounds.shader(cameras),
        )
    preferred = monitors.preferred_views(
        model.denoiser,
        make_model_space(model.first_stage),
        resize_images(seen.color * 2 - 1, model.size),
        optimization.backgrounds.texts[0],
        cameras.azimuth,
        cameras.elevation,
        torch.Generator().manual_seed(0),
        optimization.phase,
    )
    return monitors.count_faces(preferred, cameras.azimuth)


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
    """Makes the objects one after another; each leaves all its files before the next begins.

    options: what they leave to the model is filled in, see `ObjectOptions.with_model_defaults`. start:
    `time.perf_counter()` when the process began. Ctrl-C ends the distillation, and what there is of the
    object becomes files.
    Raises UserError for a model or device that cannot be used and for checkpoints of other runs, before any
    work.
    """
    chosen = pick_device(device)
    folder = resolve_checkpoint(reference.name)
    dtype = getattr(torch, reference.dtype) if reference.dtype else None
    image_model = load_image_model(
        folder, device=chosen, dtype=dtype, lora=reference.lora, offload=reference.offload
    )
    options = options.with_model_defaults(image_model.reads_attributes, image_model.first_stage is not None)
    identities = [run_identity(job, options, reference) for job in jobs]
    if resume:
        for job, identity in zip(jobs, identities, strict=True):
            checkpoint.check(job.checkpoint, identity)
    weights = weights_sha256(folder)
    load = time.perf_counter() - start

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        for job, identity in zip(jobs, identities, strict=True):
            began = time.perf_counter()
            optimization = start_optimization(job, image_model, options, reference.bundled)
            if resume:
                checkpoint.load(job.checkpoint, optimization)
            watch = ProgressCallback(job, optimization, identity, preview)
            task = progress.add_task(
                job.mesh.name, total=options.iterations, completed=optimization.iteration
            )
            with catch_interrupts() as interrupted:
                for state in optimization:
                    watch(state)
                    progress.update(task, completed=state.iteration)
                    if interrupted():
                        break
            distilled = time.perf_counter()
            finished = mesh_field(optimization.field, options)
            files = write_object_files(job, finished.mesh, options.turn)
            job.preview.unlink(missing_ok=True)
            job.checkpoint.unlink(missing_ok=True)
            written = time.perf_counter()
            record = ObjectRecord(
                prompt=job.prompt,
                completed=job.completed,
                seed=job.seed,
                options=options,
                preset=preset,
                model=reference.name,
                model_sha256=weights,
                model_kind=checkpoint_kind(folder),
                dtype=str(next(image_model.denoiser.parameters()).dtype).removeprefix("torch."),
                lora=list(reference.lora),
                device=describe_device(chosen),
                versions=package_versions(),
                iterations=optimization.iteration,
                faces_seen=count_front_views(optimization, image_model),
                trouble=watch.trouble,
                fidelity=finished.fidelity,
                surface=finished.surface,
                seconds=ObjectSeconds(
                    load=load,
                    distill=distilled - began,
                    mesh=written - distilled,
                    since_start=written - start,
                ),
                files=[file.name for file in files],
            )
            write_record(job.record, record)
            _say(console, job, record, written - began)
            if interrupted():
                raise KeyboardInterrupt


def _say(console: Console, job: ObjectJob, record: ObjectRecord, seconds: float) -> None:
    for sentence in record.trouble:
        console.print(f"{job.mesh}: {sentence}", highlight=False)
    console.print(
        f"{job.mesh}: {record.surface.faces} faces, seed {job.seed}, {record.iterations} iterations, "
        f"made in {seconds:.0f} s" + (f", as: {job.completed}" if job.completed else ""),
        highlight=False,
    )
