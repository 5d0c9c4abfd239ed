"""Clip models: one interface to the bundled model, AnimateDiff and diffusers' video pipelines."""

import math
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.io.pictures import read_clip_cropped, read_image_cropped
from core.models.super_resolution import SuperResolution
from core.sampling import StepCallback
from video.cascade.distilled import DistilledConfig, load_student, merged
from video.cascade.interpolation import FrameInterpolation
from video.options import ClipOptions
from video.plan import FRAME_RATE
from video.record import CheckpointRecord, ModelRecord, read_model_record
from video.video_model import VideoModel

IMAGE_SCALE = 3.0  # of reconstruction guidance


class ClipModel(Protocol):
    """A loaded model that samples clips from prompts."""

    keeps_latents: bool  # whether latents are saved before decoding, because it is costly

    @property
    def record(self) -> ModelRecord | CheckpointRecord:
        """The weights, for run records."""
        ...

    def sample(self, prompt: str, seed: int, options: ClipOptions, on_step: StepCallback) -> Tensor:
        """A clip (1,3,F,H,W) in [-1, 1]. on_step: called after every step, the last time before decoding."""
        ...

    def decode(self, x: Tensor) -> Tensor:
        """The clip (1,3,F,H,W) in [-1, 1] of the last state's x."""
        ...

    def preview_frames(self, x: Tensor) -> Tensor:
        """Frames (1,3,F',H,W) of x for previews; fewer than x has where decoding is costly."""
        ...


class NativeClipModel:
    """A `VideoModel` as a clip model, with the super-resolution model of its frames where there is one."""

    keeps_latents = False

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        super_resolution: Path | None = None,
        interpolation: Path | None = None,
        distilled: Path | None = None,
    ) -> None:
        """super_resolution, interpolation: folders of the later stages of the cascade.

        distilled: folder of a model that needs few steps, drawn with in place of the full one.

        Raises UserError for a folder that is missing, damaged or does not fit.
        """
        self.model = VideoModel.load(folder, device)
        if interpolation:
            self.model.interpolation = self._load_interpolation(interpolation, device)
        self.record = read_model_record(folder)
        self.distilled: DistilledConfig | None = None
        if distilled:
            self.distilled, student = load_student(distilled, self.model.denoiser, self.record.sha256)
            self.model.denoiser = merged(student)
        self.super_resolution = SuperResolution.load(super_resolution, device) if super_resolution else None
        if self.super_resolution and self.super_resolution.config.low_size != self.model.config.image.size:
            raise UserError(f"The super-resolution model in {super_resolution} takes images of another size.")

    def sample(self, prompt: str, seed: int, options: ClipOptions, on_step: StepCallback) -> Tensor:
        """A clip (1,3,F,H,W) in [-1, 1]; see `ClipModel`."""
        size = self.model.config.image.size
        self._check_distilled(options)
        clips = self.model.sample(
            [prompt],
            frames=options.frames,
            steps=options.steps,
            guidance=options.guidance,
            negative=options.negative,
            sampler=options.sampler,
            eta=options.eta,
            guidance_interval=options.guidance_interval,
            guidance_rescale=options.guidance_rescale,
            seeds=[seed],
            azimuth=options.azimuth,
            elevation=options.elevation,
            shadow=True,  # left open, a shadow comes and goes within a clip
            image=first_frame(options.image, size, size) if options.image else None,
            last_image=first_frame(options.last_image, size, size) if options.last_image else None,
            image_scale=0.0 if options.extension == "replacement" else IMAGE_SCALE,
            clip=read_clip(options.video, size, options.frames) if options.video else None,
            strength=options.strength,
            loop=options.loop,
            later_prompts=[(round(shot.start * FRAME_RATE), shot.prompt) for shot in options.later_prompts],
            doublings=frame_doublings(options.fps) if self.model.interpolation else 0,
            on_step=on_step,
        )
        if not self.super_resolution:
            return clips
        steps = 1 if options.super_resolution is None else options.super_resolution
        return enlarge_frames(self.super_resolution, clips, seed, steps) if steps else clips

    def _check_distilled(self, options: ClipOptions) -> None:
        """Raises UserError unless the options are those that a distilled model was trained for."""
        if not self.distilled:
            return
        given, needed = (options.steps, options.guidance, options.sampler), (self.distilled.steps, 1, "ddim")
        if given != needed:
            raise UserError(
                f"The draft tier takes {needed[0]} steps of ddim and guidance 1, which it has learned: leave "
                "out --steps, --guidance and --sampler."
            )

    def _load_interpolation(self, folder: Path, device: torch.device) -> FrameInterpolation:
        interpolation, stage = FrameInterpolation.load(folder, device), self.model.first_stage
        if not stage or interpolation.config.first_stage != stage.fingerprint:
            raise UserError(f"The interpolation model in {folder} is of other latents than the video model.")
        return interpolation

    def decode(self, x: Tensor) -> Tensor:
        """The clip (1,3,F,H,W) in [-1, 1] of the last state's x."""
        return self.model.decode(x)

    def preview_frames(self, x: Tensor) -> Tensor:
        """All frames (1,3,F,H,W) in [-1, 1]: the first stage is cheap."""
        return self.model.decode(x)


def read_clip(path: Path, size: int, frames: int) -> Tensor:
    """The start of a video file as a clip (1,3,frames,size,size) in [-1, 1] at the model's frame rate."""
    pixels = read_clip_cropped(path, size, frames, FRAME_RATE).astype(np.float32) / 127.5 - 1
    return torch.from_numpy(pixels).permute(3, 0, 1, 2)[None]


def frame_doublings(fps: float) -> int:
    """How often the frame rate of a model in this project's format is doubled for a clip of `fps`."""
    return max(0, int(math.log2(fps / FRAME_RATE)))


def enlarge_frames(model: SuperResolution, clips: Tensor, seed: int, steps: int) -> Tensor:
    """Clips (B,3,F,H,W) at the size of a super-resolution model, drawn from the same noise in all frames."""
    count, _, frames, _, _ = clips.shape
    images = clips.transpose(1, 2).flatten(0, 1)
    large = model.sample(images, [seed] * len(images), steps=steps)
    return large.unflatten(0, (count, frames)).transpose(1, 2)


def first_frame(path: Path, width: int, height: int) -> Tensor:
    """The picture in a file as (1,3,height,width) in [-1, 1], see `read_image_cropped`."""
    pixels = np.array(read_image_cropped(path, width, height), dtype=np.float32) / 127.5 - 1
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]
