"""From a prompt to a clip and its files: what the command and the Python API share."""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from core.io.machine import describe_device, package_versions
from core.io.pictures import Frames, to_frames, upscale, write_clip
from core.io.sheet import write_sheet
from core.sampling import StepCallback
from video.clip_model import ClipModel, NativeClipModel
from video.options import ClipJob, ClipOptions
from video.record import RunRecord, Seconds, write_record


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip and the record of how it was made. Plays in a notebook.

    frames: (F,H,W,3) uint8 sRGB, at the model's own size; files are enlarged by `record.options.scale`.
    """

    frames: Frames
    record: RunRecord

    def save(self, path: str | Path) -> list[Path]:
        """Writes the clip, its contact sheet (.png) and its record (.json); returns the three paths.

        path: ends in .mp4, .gif or .webp. Raises UserError for another ending or an unwritable folder.
        """
        job = ClipJob(self.record.prompt, self.record.seed, Path(path))
        files = self.write_files(job)
        write_record(job.record, self.record.model_copy(update={"files": [file.name for file in files]}))
        return [*files, job.record]

    def write_files(self, job: ClipJob) -> list[Path]:
        """Writes the clip and its contact sheet under the names of a job; returns the paths."""
        write_clip(job.clip, self.enlarged, self.record.options.fps)
        write_sheet(job.sheet, self.frames, self.record.prompt)
        return [job.clip, job.sheet]

    @property
    def enlarged(self) -> Frames:
        """The frames as files show them, (F,scale*H,scale*W,3)."""
        options = self.record.options
        return upscale(self.frames, options.scale, options.resampling)

    def _repr_html_(self) -> str:
        """An inline, looping clip."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "clip.webp"
            write_clip(path, self.enlarged, self.record.options.fps)
            data = b64encode(path.read_bytes()).decode()
        return f'<img alt="clip" src="data:image/webp;base64,{data}">'


def sample_clip(
    model: ClipModel,
    job: ClipJob,
    options: ClipOptions,
    *,
    preset: str,
    device: torch.device,
    on_step: StepCallback,
    latents: Tensor | None = None,
    complete: bool = False,
) -> Clip:
    """Samples the clip of a job.

    on_step: called after every sampling step.
    complete: let the bundled model fill in what given frames show and the options and the prompt leave open.
    latents: of an earlier run, to be decoded instead of sampling.
    """
    began = time.perf_counter()
    options = job.adjusted(options)
    if isinstance(model, NativeClipModel) and model.bundled and options.has_given_frames:
        job, options = model.recognize(job, options, complete)
    if latents is None:
        clips = model.sample(job.text, job.seed, options, on_step)
    else:
        clips = model.decode(latents)
    frames = to_frames(clips[0].float().cpu().numpy())
    _, height, width, _ = frames.shape
    record = RunRecord(
        prompt=job.prompt,
        completed=job.completed,
        notes=list(job.reading.notes) if job.reading else [],
        seed=job.seed,
        options=options,
        preset=preset,
        model=model.record,
        device=describe_device(device),
        versions=package_versions(),
        size=(width * options.scale, height * options.scale),
        seconds=Seconds(load=0.0, sample=time.perf_counter() - began, write=0.0, since_start=0.0),
        gflop=None,
        files=[],
    )
    return Clip(frames, record)
