"""From jobs to files: sampling with progress and previews, then clips, contact sheets and records."""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from core.errors import UserError
from core.io.machine import describe_device, flop_counter, package_versions, pick_device
from core.io.pictures import to_frames, upscale, write_clip
from core.io.sheet import write_sheet
from core.samplers import SamplerState
from video.clip_model import ClipModel
from video.latent_cache import LatentCache
from video.model_reference import ModelReference
from video.options import ClipJob, ClipOptions
from video.record import CheckpointRecord, RunRecord, Seconds, write_record

PREVIEW_EVERY = 1.5  # s
PREVIEW_REST = 10  # at the least, in times that the last one took

# What may change between sampling and decoding.
AFTERWARDS = {"model", "offload", "tiling", "scale", "resampling", "image"}


class ProgressCallback:
    """What happens after each sampling step: progress, now and then a preview, once a count of arithmetic."""

    def __init__(
        self,
        progress: Progress,
        task: TaskID,
        job: ClipJob,
        decode: Callable[[Tensor], Tensor] | None,
        latents: LatentCache | None = None,
    ) -> None:
        """decode: the model's, for previews; None: none are drawn. latents: what keeps the last step's x."""
        self.progress, self.task, self.job, self.decode, self.latents = progress, task, job, decode, latents
        self.shown = time.perf_counter()
        self.pause = PREVIEW_EVERY
        self.counter = flop_counter()
        self.gflop: float | None = None

    def __call__(self, state: SamplerState) -> None:
        self.progress.advance(self.task)
        # All steps do the same work, so the second one's count, taken between two calls, stands for each.
        if state.step == 2:
            self.counter.__exit__(None, None, None)
            self.gflop = round(state.steps * self.counter.get_total_flops() / 1e9, 1)
        if self.decode and time.perf_counter() - self.shown > self.pause and state.step < state.steps:
            self._show(self.decode, state.x0[:1])
        if state.step == 1 and state.steps > 1:
            self.counter.__enter__()
        if self.latents and state.step == state.steps:
            self.latents.save(state.x)

    def _show(self, decode: Callable[[Tensor], Tensor], x0: Tensor) -> None:
        began = time.perf_counter()
        try:
            (clip,) = decode(x0)
        except RuntimeError:  # out of memory, say: sampling is worth more than its previews
            self.decode = None
            return
        write_sheet(self.job.preview, to_frames(clip.float().cpu().numpy()), self.job.prompt)
        self.shown = time.perf_counter()
        self.pause = max(PREVIEW_EVERY, PREVIEW_REST * (self.shown - began))


def generate(
    jobs: Sequence[ClipJob],
    options: ClipOptions,
    *,
    reference: ModelReference,
    device: str,
    preset: str,
    preview: bool,
    resume: bool,
    force: bool,
    start: float,
) -> None:
    """Makes the clips one after another; each leaves its clip, sheet and record before the next begins.

    resume: decode the latents that a run has left instead of sampling, where there are any. force: load the
    model even where memory will not do. start: `time.perf_counter()` when the process began.
    Raises UserError for a model or device that cannot be used, before any sampling.
    """
    chosen = pick_device(device)
    model = reference.open(options, chosen, force)
    load = time.perf_counter() - start

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    if isinstance(model.record, CheckpointRecord) and model.record.expected:
        cost = model.record.expected
        console.print(f"A clip needs about {cost.memory / 2**30:.1f} GiB and {_duration(cost.seconds)}.")
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(jobs) * options.steps)
        for job in jobs:
            progress.update(task, description=job.clip.name)
            latents = LatentCache(job.latents, _request(job, options, model)) if model.keeps_latents else None
            watch = ProgressCallback(progress, task, job, model.preview_frames if preview else None, latents)
            left = latents.load() if latents and resume else None
            began = time.perf_counter()
            try:
                if left is None:
                    clips = model.sample(job.text, job.seed, options, watch)
                else:
                    clips = model.decode(left)
            except torch.OutOfMemoryError as error:
                raise UserError(_out_of_memory(chosen, latents)) from error
            except Exception:
                if latents and latents.held:
                    console.print(f"{job.latents} keeps what was sampled: --resume goes on from there.")
                raise
            finally:
                job.preview.unlink(missing_ok=True)
            sampled = time.perf_counter()

            frames = to_frames(clips[0].float().cpu().numpy())
            shown = upscale(frames, options.scale, options.resampling)
            write_clip(job.clip, shown, options.fps)
            write_sheet(job.sheet, frames, job.prompt)
            if latents:
                latents.drop()
            written = time.perf_counter()
            record = RunRecord(
                prompt=job.prompt,
                completed=job.completed,
                seed=job.seed,
                options=options,
                preset=preset,
                model=model.record,
                device=describe_device(chosen),
                versions=package_versions(),
                size=(shown.shape[2], shown.shape[1]),
                seconds=Seconds(
                    load=load, sample=sampled - began, write=written - sampled, since_start=written - start
                ),
                gflop=watch.gflop,
                files=[job.clip.name, job.sheet.name],
            )
            write_record(job.record, record)
            width, height = record.size
            console.print(
                f"{job.clip}: {len(frames)} frames, {options.fps:g} a second, {width}x{height}, "
                f"seed {job.seed}, sampled in {sampled - began:.1f} s"
                + (f", drawn as: {job.completed}" if job.completed else ""),
                highlight=False,
            )


def _request(job: ClipJob, options: ClipOptions, model: ClipModel) -> dict[str, Any]:
    """What the latents of a job depend on, as JSON values."""
    said = options.model_dump(mode="json", exclude=AFTERWARDS)
    image = hashlib.sha256(options.image.read_bytes()).hexdigest() if options.image else None
    weights = model.record.model_dump(mode="json", include={"sha256", "pipeline", "dtype"})
    return said | weights | {"prompt": job.text, "seed": job.seed, "image": image}


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds > 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, seconds):.0f} s"


def _out_of_memory(device: torch.device, latents: LatentCache | None) -> str:
    advice = "give fewer --frames, a smaller size, --tiling or --offload"
    if latents and latents.held:
        advice = f"what was sampled is kept in {latents.path}, to be decoded by --resume with --tiling"
    return f"The memory of {device} did not do: {advice}."
