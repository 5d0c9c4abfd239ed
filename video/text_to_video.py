"""From a prompt to a clip and its files: what the command and the Python API share."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from core.errors import UserError
from core.io.clips.write import write_clip
from core.io.files.record import digests
from core.io.files.saving import save_output
from core.io.machine import describe_device, package_versions
from core.io.pictures import Frames, UpscaledFrames, to_frames, upscale
from core.io.sheet import write_sheet
from core.sampling import StepCallback
from video.clip_model import ClipModel, NativeClipModel
from video.job import ClipJob
from video.options import ClipOptions, ClipRequest
from video.record import RunRecord, Seconds, write_record
from video.sampling.keying import remove_backdrop


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip and the record of how it was made. Plays in a notebook.

    frames: (F,H,W,3) uint8 sRGB, at the model's own size; files are enlarged by `record.options.scale`.
    """

    frames: Frames
    record: RunRecord

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Writes the clip, its contact sheet and its record; returns the paths.

        path: ends in .mp4, .webm, .gif, .webp, .apng or .png (numbered pictures). A file of that name is
            replaced; others that the sheet or the record would replace are refused, unless `overwrite` is
            given or they are of an earlier clip of that name.

        Raises UserError for another ending, an unwritable folder, and what may not be replaced.
        """
        job = ClipJob(self.record.prompt, self.record.seed, Path(path))
        with save_output(job.files, overwrite) as drafts:
            files = self.write_files(job._replace(clip=drafts.output))
            write_record(drafts.record, self.record.model_copy(update={"files": digests(files)}))
        return job.files.there

    def write_files(self, job: ClipJob) -> list[Path]:
        """Writes the clip and its contact sheet under the names of a job; returns the paths."""
        options = self.record.options
        shown = UpscaledFrames(self.keyed, options.scale, options.resampling)
        written = write_clip(job.clip, shown, options.fps)
        write_sheet(job.sheet, self.frames, self.record.prompt)
        return [*written, job.sheet]

    @property
    def keyed(self) -> Frames:
        """The frames (F,H,W,3), with alpha (F,H,W,4) if the clip is transparent.

        Raises UserError for a transparent clip that was not drawn before a plain backdrop.
        """
        try:
            return remove_backdrop(self.frames) if self.record.options.transparent else self.frames
        except ValueError as error:
            raise UserError(f"The clip cannot be made transparent: {error}. Try another --seed.") from error

    @property
    def enlarged(self) -> Frames:
        """The frames as files show them, (F,scale*H,scale*W,3), or 4."""
        options = self.record.options
        return upscale(self.keyed, options.scale, options.resampling)

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
    (clip,) = sample_clips(
        model,
        [(job, options)],
        preset=preset,
        device=device,
        on_step=on_step,
        latents=latents,
        complete=complete,
    )
    return clip


def sample_clips(
    model: ClipModel,
    jobs: Sequence[tuple[ClipJob, ClipOptions]],
    *,
    preset: str,
    device: torch.device,
    on_step: StepCallback,
    latents: Tensor | None = None,
    complete: bool = False,
) -> list[Clip]:
    """Samples the clips of jobs of one group (`ClipModel.group`) together; arguments as in `sample_clip`."""
    began = time.perf_counter()
    settled = [(job, job.adjusted(options)) for job, options in jobs]
    for job, options in settled:
        if options.transparent:
            job.check_backdrop()
    if isinstance(model, NativeClipModel) and model.bundled:
        settled = [
            model.recognize(job, options, complete) if options.has_given_frames else (job, options)
            for job, options in settled
        ]
    texts = [model.read(job.text) for job, _ in settled]
    if latents is not None:
        clips = model.decode(latents)
        if clips.shape[2] != (frames := settled[0][1].frames):
            raise UserError(
                f"The stored latents are of {clips.shape[2]} frames, not {frames}: sample again, without "
                "--resume."
            )
    else:
        requests = [
            ClipRequest(text, job.seed, options.model_copy(update={"negative": model.read(options.negative)}))
            for text, (job, options) in zip(texts, settled, strict=True)
        ]
        clips = model.sample(requests, on_step)
    frames = [to_frames(clip.float().cpu().numpy()) for clip in clips]
    share = (time.perf_counter() - began) / len(jobs)
    return [
        Clip(shown, _record(model, job, text, options, shown, preset, device, share, len(jobs)))
        for shown, text, (job, options) in zip(frames, texts, settled, strict=True)
    ]


def _record(
    model: ClipModel,
    job: ClipJob,
    text: str,
    options: ClipOptions,
    frames: Frames,
    preset: str,
    device: torch.device,
    seconds: float,
    batch: int,
) -> RunRecord:
    _, height, width, _ = frames.shape
    return RunRecord(
        prompt=job.prompt,
        completed=job.completed,
        read=None if text == job.text else text,
        notes=list(job.reading.notes) if job.reading else [],
        seed=job.seed,
        options=options,
        preset=preset,
        model=model.record,
        device=describe_device(device),
        versions=package_versions(),
        size=(width * options.scale, height * options.scale),
        seconds=Seconds(load=0.0, sample=seconds, write=0.0, since_start=0.0),
        gflop=None,
        batch=batch,
        files={},
    )
