"""From jobs to files: sampling with progress and previews, then clips, contact sheets and records."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from core.machine import describe, flop_counter, pick_device, versions
from core.pictures import enlarge, to_frames, write_clip
from core.samplers import State
from core.sheet import write_sheet
from video.options import ClipOptions, Job
from video.record import RunRecord, Seconds, read_model_record, write_record
from video.video_model import VideoModel

PREVIEW_EVERY = 1.5  # s


class Watch:
    """What happens after each sampling step: progress, now and then a preview, once a count of arithmetic."""

    def __init__(
        self, progress: Progress, task: TaskID, job: Job, decode: Callable[[Tensor], Tensor] | None
    ) -> None:
        """decode: the model's, for previews; None for no previews."""
        self.progress, self.task, self.job, self.decode = progress, task, job, decode
        self.shown = time.perf_counter()
        self.counter = flop_counter()
        self.gflop: float | None = None

    def __call__(self, state: State) -> None:
        self.progress.advance(self.task)
        # All steps do the same work, so the second one's count, taken between two calls, stands for each.
        if state.step == 2:
            self.counter.__exit__(None, None, None)
            self.gflop = round(state.steps * self.counter.get_total_flops() / 1e9, 1)
        late = time.perf_counter() - self.shown > PREVIEW_EVERY
        if self.decode and late and state.step < state.steps:
            (clip,) = self.decode(state.x0[:1])
            write_sheet(self.job.preview, to_frames(clip.float().cpu().numpy()), self.job.prompt)
            self.shown = time.perf_counter()
        if state.step == 1 and state.steps > 1:
            self.counter.__enter__()


def generate(
    jobs: Sequence[Job],
    options: ClipOptions,
    *,
    model: Path,
    device: str,
    preset: str,
    preview: bool,
    start: float,
) -> None:
    """Makes the clips one after another; each leaves its clip, sheet and record before the next begins.

    model: a folder that `VideoModel.load` reads. start: `time.perf_counter()` when the process began.
    Raises UserError for a model or device that cannot be used, before any sampling.
    """
    chosen = pick_device(device)
    video_model = VideoModel.load(model, chosen)
    weights = read_model_record(model)
    load = time.perf_counter() - start

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(jobs) * options.steps)
        for job in jobs:
            progress.update(task, description=job.clip.name)
            watch = Watch(progress, task, job, video_model.decode if preview else None)
            began = time.perf_counter()
            try:
                clips = video_model.sample(
                    [job.text],
                    frames=options.frames,
                    steps=options.steps,
                    guidance=options.guidance,
                    negative=options.negative,
                    seeds=[job.seed],
                    azimuth=options.azimuth,
                    elevation=options.elevation,
                    on_state=watch,
                )
            finally:
                job.preview.unlink(missing_ok=True)
            sampled = time.perf_counter()

            frames = to_frames(clips[0].float().cpu().numpy())
            shown = enlarge(frames, options.scale, options.resampling)
            write_clip(job.clip, shown, options.fps)
            write_sheet(job.sheet, frames, job.prompt)
            written = time.perf_counter()
            record = RunRecord(
                prompt=job.prompt,
                completed=job.completed,
                seed=job.seed,
                options=options,
                preset=preset,
                model=weights,
                device=describe(chosen),
                versions=versions(),
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
                f"{job.clip}: {options.frames} frames, {options.fps:g} a second, {width}x{height}, "
                f"seed {job.seed}, sampled in {sampled - began:.1f} s"
                + (f", drawn as: {job.completed}" if job.completed else ""),
                highlight=False,
            )
