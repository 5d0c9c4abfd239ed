"""The work of the `gen-video` command: from jobs to files, with progress, previews and records."""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor

from core.errors import UserError
from core.io.machine import flop_counter, pick_device
from core.io.pictures import to_frames
from core.io.progress import PreviewTimer, make_progress
from core.io.sheet import write_sheet
from core.samplers import SamplerState
from video.clip_model import ClipModel
from video.latent_cache import LatentCache
from video.model_reference import ModelReference
from video.options import ClipJob, ClipOptions
from video.record import CheckpointRecord, Seconds, write_record
from video.text_to_video import sample_clip

PREVIEW_EVERY = 1.5  # s

# Options that may change between sampling and decoding.
DECODING_OPTIONS = {"model", "offload", "tiling", "scale", "resampling", "image", "interpolate", "video"}


class SamplingMonitor:
    """Called after each sampling step: progress, previews, arithmetic, and the last step's latents."""

    def __init__(
        self,
        progress: Progress,
        task: TaskID,
        job: ClipJob,
        decode: Callable[[Tensor], Tensor] | None,
        latents: LatentCache | None = None,
        steps: int | None = None,
    ) -> None:
        """decode: the model's, for previews; None draws none. latents: where the last step's x is stored.

        steps: that the task counts for the clip, whatever number it takes; None is the latter.
        """
        self.progress, self.task, self.job, self.decode, self.latents = progress, task, job, decode, latents
        self.steps = steps
        self.preview_timer = PreviewTimer(PREVIEW_EVERY)
        self.counter = flop_counter()
        self.gflop: float | None = None

    def __call__(self, state: SamplerState) -> None:
        """Advances the progress bar, writes previews and, after the last step, the latents."""
        planned = self.steps or state.steps
        self.progress.advance(self.task, planned / state.steps)
        # All steps do the same work: the second one's count, taken between two calls, stands for each. Not so
        # where there are several windows: the later ones do more than the first.
        if state.step == 2:
            self.counter.__exit__(None, None, None)
            if state.steps <= planned:
                self.gflop = round(state.steps * self.counter.get_total_flops() / 1e9, 1)
        if self.decode and self.preview_timer.due and state.step < state.steps:
            self._write_preview(self.decode, state.x0[:1])
        if state.step == 1 and state.steps > 1:
            self.counter.__enter__()
        if self.latents and state.step == state.steps:
            self.latents.save(state.x)

    def _write_preview(self, decode: Callable[[Tensor], Tensor], x0: Tensor) -> None:
        with self.preview_timer:
            try:
                (clip,) = decode(x0)
            except RuntimeError:  # out of memory, for example: sampling goes on without previews
                self.decode = None
                return
            write_sheet(self.job.preview, to_frames(clip.float().cpu().numpy()), self.job.prompt)


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
    complete: bool = False,
) -> None:
    """Makes the clips one after another; each writes clip, sheet and record before the next begins.

    resume: decode the latents of a failed run, where there are any, instead of sampling.
    force: load the model even if the estimate exceeds the free memory.
    start: `time.perf_counter()` when the process began.
    complete: as in `sample_clip`.

    Raises UserError for a model or device that cannot be used, before any sampling.
    """
    chosen = pick_device(device)
    model = reference.open(options, chosen, force)
    load = time.perf_counter() - start

    console = Console(stderr=True)
    if isinstance(model.record, CheckpointRecord) and model.record.expected:
        cost = model.record.expected
        console.print(f"A clip needs about {cost.memory / 2**30:.1f} GiB and {_duration(cost.seconds)}.")
    with make_progress(console) as progress:
        task = progress.add_task("", total=len(jobs) * options.steps)
        for job in jobs:
            progress.update(task, description=job.clip.name)
            request = _request(job, job.adjusted(options), model)
            cache = LatentCache(job.latents, request) if model.keeps_latents else None
            decode = model.preview_frames if preview else None
            monitor = SamplingMonitor(progress, task, job, decode, cache, options.steps)
            try:
                clip = sample_clip(
                    model,
                    job,
                    options,
                    preset=preset,
                    device=chosen,
                    on_step=monitor,
                    latents=cache.load() if cache and resume else None,
                    complete=complete,
                )
            except torch.OutOfMemoryError as error:
                raise UserError(_out_of_memory(chosen, cache)) from error
            except Exception:
                if cache and cache.held:
                    console.print(f"The sampled latents are in {job.latents}: --resume decodes them.")
                raise
            finally:
                job.preview.unlink(missing_ok=True)
            sampled = time.perf_counter()
            files = clip.write_files(job)
            if cache:
                cache.drop()
            written = time.perf_counter()
            seconds = Seconds(
                load=load,
                sample=clip.record.seconds.sample,
                write=written - sampled,
                since_start=written - start,
            )
            update = {"seconds": seconds, "gflop": monitor.gflop, "files": [file.name for file in files]}
            record = clip.record.model_copy(update=update)
            write_record(job.record, record)
            width, height = record.size
            drawn = clip.record.completed
            if job.reading and not options.has_given_frames:
                drawn = job.reading.summary
            console.print(
                f"{job.clip}: {len(clip.frames)} frames, {options.fps:g} a second, {width}x{height}, "
                f"seed {job.seed}, sampled in {seconds.sample:.1f} s"
                + (f", drawn as: {drawn}" if drawn else ""),
                highlight=False,
            )


def _request(job: ClipJob, options: ClipOptions, model: ClipModel) -> dict[str, Any]:
    """What the latents of a job depend on, as JSON values."""
    sampling = options.model_dump(mode="json", exclude=DECODING_OPTIONS)
    given = [*options.given_images, *([options.video] if options.video else [])]
    image = [hashlib.sha256(file.read_bytes()).hexdigest() for file in given] or None
    weights = model.record.model_dump(mode="json", include={"sha256", "pipeline", "dtype"})
    return sampling | weights | {"prompt": job.text, "seed": job.seed, "image": image}


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds > 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, seconds):.0f} s"


def _out_of_memory(device: torch.device, cache: LatentCache | None) -> str:
    advice = "give fewer --frames, a smaller size, --tiling or --offload"
    if cache and cache.held:
        advice = f"the sampled latents are in {cache.path}, and --resume with --tiling decodes them"
    return f"Out of memory on {device}: {advice}."
