"""The work of the `gen-video` command: from jobs to files, with progress, previews and records."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor

from core.batches.gallery import write_galleries
from core.batches.run import BatchJob, Outcome, run_batch
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
from video.record import CheckpointRecord, RunRecord, Seconds, read_record, write_record
from video.text_to_video import sample_clip

PREVIEW_EVERY = 1.5  # s

# Options that do not change the files: of given pictures the contents count.
NOT_IN_THE_FILES = {"model", "offload", "image", "interpolate", "video"}
DECODING_OPTIONS = {"tiling", "scale", "resampling"}  # that may change between sampling and decoding


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


@dataclass(frozen=True)
class Run:
    """What the clips of a run have in common. Arguments as in `generate`."""

    model: ClipModel
    device: torch.device
    preset: str
    preview: bool
    resume: bool
    complete: bool
    start: float
    load: float  # s
    console: Console
    progress: Progress

    def make(self, job: ClipJob, options: ClipOptions) -> None:
        """Makes one clip: writes it, its sheet and its record."""
        task = self.progress.add_task(job.clip.name, total=options.steps)
        request = request_of(job, job.adjusted(options), self.model)
        undecoded = {name: value for name, value in request.items() if name not in DECODING_OPTIONS}
        cache = LatentCache(job.latents, undecoded) if self.model.keeps_latents else None
        decode = self.model.preview_frames if self.preview else None
        monitor = SamplingMonitor(self.progress, task, job, decode, cache, options.steps)
        try:
            clip = sample_clip(
                self.model,
                job,
                options,
                preset=self.preset,
                device=self.device,
                on_step=monitor,
                latents=cache.load() if cache and self.resume else None,
                complete=self.complete,
            )
        except torch.OutOfMemoryError as error:
            raise UserError(_out_of_memory(self.device, cache)) from error
        except Exception:
            if cache and cache.held:
                self.console.print(f"The sampled latents are in {job.latents}: --resume decodes them.")
            raise
        finally:
            job.preview.unlink(missing_ok=True)
            self.progress.remove_task(task)
        sampled = time.perf_counter()
        files = clip.write_files(job)
        if cache:
            cache.drop()
        written = time.perf_counter()
        seconds = Seconds(
            load=self.load,
            sample=clip.record.seconds.sample,
            write=written - sampled,
            since_start=written - self.start,
        )
        record = clip.record.model_copy(
            update={
                "seconds": seconds,
                "gflop": monitor.gflop,
                "files": [file.name for file in files],
                "request": digest_of(request),
            }
        )
        write_record(job.record, record)
        self._print(job, options, record, len(clip.frames))

    def is_made(self, job: ClipJob, options: ClipOptions) -> bool:
        """Whether the clip is there, made by this model with these options."""
        record = read_record(job.record)
        if not record or not all((job.clip.parent / name).is_file() for name in record.files):
            return False
        return record.request == digest_of(request_of(job, job.adjusted(options), self.model))

    def _print(self, job: ClipJob, options: ClipOptions, record: RunRecord, frames: int) -> None:
        width, height = record.size
        drawn = record.completed
        if job.reading and not options.has_given_frames:
            drawn = job.reading.summary
        self.console.print(
            f"{job.clip}: {frames} frames, {options.fps:g} a second, {width}x{height}, "
            f"seed {job.seed}, sampled in {record.seconds.sample:.1f} s"
            + (f", drawn as: {drawn}" if drawn else ""),
            highlight=False,
        )


def generate(
    jobs: Sequence[tuple[ClipJob, ClipOptions]],
    *,
    reference: ModelReference,
    device: str,
    preset: str,
    preview: bool,
    resume: bool,
    force: bool,
    start: float,
    complete: bool = False,
    skip_existing: bool = False,
    gallery: bool = False,
) -> Outcome:
    """Makes the clips one after another; each writes clip, sheet and record before the next begins.

    jobs: with the options of each, which name one model.
    resume: decode the latents of a failed run, where there are any, instead of sampling.
    force: load the model even if the estimate exceeds the free memory.
    start: `time.perf_counter()` when the process began.
    complete: as in `sample_clip`.
    skip_existing: leave out clips whose records say that they would be the same.
    gallery: write a page of the folder of the clips.

    Several processes share the jobs, see `run_batch`. Raises UserError for a model or device that cannot be
    used, before any sampling, and what goes wrong with a single clip.
    """
    chosen = pick_device(device)
    model = reference.open(jobs[0][1], chosen, force)
    load = time.perf_counter() - start
    console = Console(stderr=True)
    if isinstance(model.record, CheckpointRecord) and model.record.expected:
        cost = model.record.expected
        console.print(f"A clip needs about {cost.memory / 2**30:.1f} GiB and {_duration(cost.seconds)}.")
    with make_progress(console) as progress:
        run = Run(model, chosen, preset, preview, resume, complete, start, load, console, progress)
        batch = [
            BatchJob(job.clip, partial(run.make, job, options), partial(run.is_made, job, options))
            for job, options in jobs
        ]
        outcome = run_batch(batch, skip_existing)
    if gallery:
        write_galleries((job.clip for job, _ in jobs), outcome, console)
    return outcome


def request_of(job: ClipJob, options: ClipOptions, model: ClipModel) -> dict[str, Any]:
    """What the files of a job depend on, as JSON values: prompt, seed, options, given pictures, weights."""
    sampling = options.model_dump(mode="json", exclude=NOT_IN_THE_FILES)
    given = [*options.given_images, *([options.video] if options.video else [])]
    image = [hashlib.sha256(file.read_bytes()).hexdigest() for file in given] or None
    weights = model.record.model_dump(
        mode="json", include={"sha256", "image_sha256", "stages", "pipeline", "dtype"}
    )
    return sampling | weights | {"prompt": job.text, "seed": job.seed, "given": image}


def digest_of(request: dict[str, Any]) -> str:
    """Hash of a request: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]


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
