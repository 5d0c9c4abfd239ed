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

from core.batches.report import write_report
from core.batches.run import BatchJob, Outcome, run_batch
from core.command_line.progress import PreviewTimer, duration, make_progress
from core.command_line.reporting import report_made, status_console
from core.errors import UserError
from core.io.atomic import WriteError
from core.io.files.output_set import draft_output
from core.io.files.plan import PlannedOutput
from core.io.files.record import digests, sha256_of
from core.io.machine import explain_out_of_memory, is_out_of_memory, pick_device, synchronized_time
from core.io.pictures import to_frames
from core.io.sheet import write_sheet
from core.io.text import count_of
from core.nn.flops import FlopCounter
from core.samplers import SamplerState
from video.clip_model import ClipModel
from video.job import ClipJob
from video.model_reference import ModelReference
from video.options import ClipOptions
from video.pipelines.context_parallel import ParallelModel
from video.record import CheckpointRecord, RunRecord, Seconds, read_record, write_record
from video.sampling.latent_cache import LatentCache
from video.text_to_video import Clip, sample_clips

PREVIEW_EVERY = 1.5  # s

# Options that do not change the files: of given pictures the contents count.
NOT_IN_THE_FILES = {"model", "offload", "context_parallel", "image", "interpolate", "video"}
# That may change between sampling and decoding. An autoencoder may overflow in a dtype that networks bear.
DECODING_OPTIONS = {"tiling", "scale", "resampling", "dtype"}


class SamplingMonitor:
    """Called after each sampling step: progress, previews, arithmetic, and the last step's latents."""

    def __init__(
        self,
        progress: Progress,
        task: TaskID,
        jobs: Sequence[ClipJob],
        decode: Callable[[Tensor], Tensor] | None,
        latents: Sequence[LatentCache] = (),
        steps: int | None = None,
    ) -> None:
        """jobs: of the clips that are sampled together.

        decode: the model's, for previews; None draws none.
        latents: of each clip, where the last step's x is stored; none are stored unless given.
        steps: that the task counts for a clip, whatever number it takes; None is the latter.
        """
        self.progress, self.task, self.jobs, self.decode, self.latents = progress, task, jobs, decode, latents
        self.steps = steps
        self.preview_timer = PreviewTimer(PREVIEW_EVERY)
        self.counter = FlopCounter()
        self.gflop: float | None = None  # of one clip

    def __call__(self, state: SamplerState) -> None:
        """Advances the progress bar, writes previews and, after the last step, the latents."""
        planned = self.steps or state.steps
        self.progress.advance(self.task, planned / state.steps)
        # All steps do the same work: the second one's count, taken between two calls, stands for each. Not so
        # where there are several windows: the later ones do more than the first.
        if state.step == 2:
            self.counter.__exit__(None, None, None)
            if state.steps <= planned:
                flop = self.counter.total / len(self.jobs)
                self.gflop = round(state.steps * flop / 1e9, 1)
        if self.decode and self.preview_timer.due and state.step < state.steps:
            self._write_previews(self.decode, state.x0)
        if state.step == 1 and state.steps > 1:
            self.counter.__enter__()
        if self.latents and state.step == state.steps:
            for cache, x in zip(self.latents, state.x.split(1), strict=True):
                self._save(cache, x)

    def _write_previews(self, decode: Callable[[Tensor], Tensor], x0: Tensor) -> None:
        with self.preview_timer:
            try:
                clips = decode(x0)
            except (RuntimeError, MemoryError, UserError) as error:
                if not (isinstance(error, UserError) or is_out_of_memory(error)):
                    raise
                self.decode = None  # sampling goes on without previews
                return
            try:
                for job, clip in zip(self.jobs, clips, strict=True):
                    write_sheet(job.files.preview, to_frames(clip.float().cpu().numpy()), job.prompt)
            except WriteError as error:
                self.decode = None
                self.progress.console.print(f"{error} There are no more previews.")

    def _save(self, cache: LatentCache, x: Tensor) -> None:
        """Stores latents; the clip can do without them."""
        try:
            cache.save(x)
        except WriteError as error:
            self.progress.console.print(f"{error} If decoding fails, the clip must be sampled again.")


@dataclass(frozen=True)
class Run:
    """What the clips of a run have in common. Arguments as in `generate`."""

    model: ClipModel
    device: torch.device
    preset: str
    preview: bool
    resume: bool
    complete: bool
    overwrite: bool
    start: float
    load: float  # s
    console: Console
    progress: Progress

    def make(self, clips: Sequence[tuple[ClipJob, ClipOptions]]) -> None:
        """Makes clips, several of one group together: writes them, their sheets and their records."""
        jobs, steps = [job for job, _ in clips], clips[0][1].steps
        name = jobs[0].clip.name if len(jobs) == 1 else f"{jobs[0].clip.name} and {len(jobs) - 1} more"
        requests = [request_of(job, job.adjusted(options), self.model) for job, options in clips]
        caches = self._caches(jobs, requests)
        stored = caches[0].load() if len(caches) == 1 and self.resume else None
        if stored:
            requests[0] |= {"dtype": _of_both(stored[1]["dtype"], requests[0]["dtype"])}
        task = self.progress.add_task(name, total=steps)
        decode = self.model.preview_frames if self.preview else None
        monitor = SamplingMonitor(self.progress, task, jobs, decode, caches, steps)
        try:
            made = sample_clips(
                self.model,
                clips,
                preset=self.preset,
                device=self.device,
                on_step=monitor,
                latents=stored and stored[0],
                complete=self.complete,
            )
        except Exception as error:
            if is_out_of_memory(error):
                raise UserError(_out_of_memory(self.device, caches)) from error
            if held := _held(caches):
                self.console.print(f"The sampled latents are in {held.path}: --resume decodes them.")
            raise
        finally:
            for job in jobs:
                job.files.preview.unlink(missing_ok=True)
            self.progress.remove_task(task)
        for (job, options), clip, request in zip(clips, made, requests, strict=True):
            self._write(job, options, clip, request, monitor.gflop)
        for cache in caches:
            cache.drop()

    def _caches(self, jobs: Sequence[ClipJob], requests: Sequence[dict[str, Any]]) -> list[LatentCache]:
        """Where the latents of the jobs are stored until they are decoded; none where decoding is cheap."""
        if not self.model.keeps_latents:
            return []
        each = zip(jobs, requests, strict=True)
        return [LatentCache(job.latents, request, job.made, DECODING_OPTIONS) for job, request in each]

    def _write(
        self, job: ClipJob, options: ClipOptions, clip: Clip, request: dict[str, Any], gflop: float | None
    ) -> None:
        """Writes a clip, its sheet and its record."""
        may_replace = job.files.lasting if self.overwrite else []
        with draft_output(job.files, may_replace) as drafts:
            record = self._write_drafts(job._replace(clip=drafts.output), clip, request, gflop)
        self._print(job, options, record, len(clip.frames))

    def _write_drafts(
        self, job: ClipJob, clip: Clip, request: dict[str, Any], gflop: float | None
    ) -> RunRecord:
        """Writes the files of a job into its draft folder, the record last; returns that."""
        sampled = time.perf_counter()
        files = clip.write_files(job)
        written = time.perf_counter()
        seconds = Seconds(
            load=self.load,
            sample=clip.record.seconds.sample,
            write=written - sampled,
            since_start=written - self.start,
        )
        model = clip.record.model
        if isinstance(model, CheckpointRecord):
            model = model.model_copy(update={"dtype": request["dtype"]})
        record = clip.record.model_copy(
            update={
                "model": model,
                "seconds": seconds,
                "gflop": gflop,
                "files": digests(files),
                "request": digest_of(request),
            }
        )
        write_record(job.files.record, record)
        return record

    def group(self, job: ClipJob, options: ClipOptions) -> str | None:
        """As in `BatchJob`. Stored latents are decoded one by one."""
        if self.resume and job.latents.exists():
            return None
        return self.model.group(job.text, job.adjusted(options))

    def is_made(self, job: ClipJob, options: ClipOptions) -> bool:
        """Whether the clip is there, made by this model with these options."""
        record = read_record(job.files.record)
        if not record or not all((job.clip.parent / name).is_file() for name in record.files):
            return False
        return record.request == digest_of(request_of(job, job.adjusted(options), self.model))

    def _print(self, job: ClipJob, options: ClipOptions, record: RunRecord, frames: int) -> None:
        width, height = record.size
        drawn = record.completed
        if job.reading and not options.has_given_frames:
            drawn = job.reading.summary
        seconds = round(record.seconds.sample + record.seconds.write, 2)
        facts = {"frames": frames, "fps": options.fps, "width": width, "height": height, "seconds": seconds}
        report_made(
            job.files.there,
            f"{count_of(frames, 'frame')}, {options.fps:g} a second, {width}x{height}, "
            f"seed {job.seed}, sampled in {record.seconds.sample:.1f} s"
            + (f", drawn as: {drawn}" if drawn else ""),
            {**job.made._asdict(), **facts},
            self.console,
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
    overwrite: bool = False,
    skip_existing: bool = False,
    gallery: bool = False,
    batch: int = 1,
) -> Outcome:
    """Makes the clips one after another; each writes clip, sheet and record before the next begins.

    jobs: with the options of each, which name one model.
    resume: decode the latents of a failed run, where there are any, instead of sampling.
    force: load the model even if the estimate exceeds the free memory.
    start: `time.perf_counter()` when the process began.
    complete: as in `sample_clip`.
    overwrite: replace files of others that have the names of the clips.
    skip_existing: leave out clips whose records say that they would be the same.
    gallery: write a page and a summary of the folder of the clips.
    batch: clips that are sampled together at most, where their options allow it; see `ClipModel.group`.

    Several processes share the jobs, see `run_batch`; with --context-parallel they share every clip, and the
    first one writes the files. Raises UserError for a model or device that cannot be
    used, before any sampling, and what goes wrong with a single clip.
    """
    chosen = pick_device(device)
    jobs = [(job, reference.with_tier(options, chosen)) for job, options in jobs]
    with explain_out_of_memory(chosen, lambda: "give --offload, or a smaller model"):
        model = reference.open(jobs[0][1], chosen, force)
    shared = isinstance(model, ParallelModel)
    if shared and not model.leads:
        model.follow()
        return Outcome()
    load = synchronized_time(chosen) - start
    console = status_console()
    if isinstance(model.record, CheckpointRecord) and model.record.expected:
        cost = model.record.expected
        console.print(f"A clip needs about {cost.memory / 2**30:.1f} GiB and {duration(cost.seconds)}.")
    with make_progress(console) as progress:
        run = Run(model, chosen, preset, preview, resume, complete, overwrite, start, load, console, progress)
        work = [
            BatchJob(
                job.files,
                partial(run.make, [(job, options)]),
                partial(run.is_made, job, options),
                run.group(job, options) if batch > 1 else None,
            )
            for job, options in jobs
        ]
        outcome = run_batch(
            work,
            skip_existing,
            size=batch,
            make_together=lambda chosen: run.make([jobs[i] for i in chosen]),
            processes=1 if shared else None,
        )
    if shared:
        model.close()
    if gallery:
        planned = [PlannedOutput(job.prompt, job.seed, job.clip) for job, _ in jobs]
        write_report(planned, work, outcome, console)
    return outcome


def request_of(job: ClipJob, options: ClipOptions, model: ClipModel) -> dict[str, Any]:
    """What the files of a job depend on, as JSON values: prompt, seed, options, given pictures, weights."""
    sampling = options.model_dump(mode="json", exclude=NOT_IN_THE_FILES)
    image = [sha256_of(file) for file in options.given_files] or None
    weights = model.record.model_dump(
        mode="json", include={"sha256", "image_sha256", "stages", "pipeline", "dtype", "compute_dtype"}
    )
    return sampling | weights | {"prompt": job.text, "seed": job.seed, "given": image}


def digest_of(request: dict[str, Any]) -> str:
    """Hash of a request: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]


def _of_both(sampled: str, decoded: str) -> str:
    """The dtype of a clip, for its record, whose latents may have been sampled in another one."""
    return sampled if sampled == decoded else f"{sampled}, decoded in {decoded}"


def _held(caches: Sequence[LatentCache]) -> LatentCache | None:
    """The first cache that holds its clip's latents."""
    return next((cache for cache in caches if cache.held), None)


def _out_of_memory(device: torch.device, caches: Sequence[LatentCache]) -> str:
    advice = "give fewer --frames, a smaller size, --tiling or --offload"
    if held := _held(caches):
        advice = f"the sampled latents are in {held.path}, and --resume with --tiling decodes them"
    return f"Out of memory on {device}: {advice}."
