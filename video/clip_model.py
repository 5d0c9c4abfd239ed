"""Clip models: one interface to the bundled model, AnimateDiff and diffusers' video pipelines."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.io.pictures import Frames, read_image_cropped
from core.models.super_resolution import SuperResolution
from core.sampling import StepCallback
from video.cascade.interpolation import FrameInterpolation
from video.options import ClipOptions, frame_doublings
from video.record import CheckpointRecord, ModelRecord, read_model_record
from video.sampling.extension import SCALE
from video.sampling.input_clip import read_clip
from video.script import parse_script
from video.video_model import VideoModel

STRENGTH = 0.6  # how far a given clip is noised, unless the options say


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
    ) -> None:
        """super_resolution, interpolation: folders of the later stages of the cascade.

        Raises UserError for a folder that is missing, damaged or does not fit.
        """
        self.model = VideoModel.load(folder, device)
        if interpolation:
            self.model.interpolation = self._load_interpolation(interpolation, device)
        self.record = read_model_record(folder)
        self.super_resolution = SuperResolution.load(super_resolution, device) if super_resolution else None
        if self.super_resolution and self.super_resolution.config.low_size != self.model.config.image.size:
            raise UserError(f"The super-resolution model in {super_resolution} takes images of another size.")

    def sample(self, prompt: str, seed: int, options: ClipOptions, on_step: StepCallback) -> Tensor:
        """A clip (1,3,F,H,W) in [-1, 1]; see `ClipModel`."""
        scenes = parse_script(prompt)
        doublings = frame_doublings(options.fps) if self.model.interpolation else 0
        rate = options.fps / 2**doublings
        clips = self.model.sample(
            [scenes[0].prompt if scenes else prompt],
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
            **self._given(options, rate),
            loop=options.loop,
            extension_scale=0.0 if options.extension == "replacement" else SCALE,
            changes=[(scene.start * rate, scene.prompt) for scene in scenes[1:]],
            doublings=doublings,
            on_step=on_step,
        )
        if not self.super_resolution:
            return clips
        steps = 1 if options.super_resolution is None else options.super_resolution
        return enlarge_frames(self.super_resolution, clips, seed, steps) if steps else clips

    def _given(self, options: ClipOptions, rate: float) -> dict[str, Any]:
        """The arguments of `VideoModel.sample` for the given pictures or clip. rate: frames per second."""
        size = self.model.config.image.size
        pictures = [read_picture(path, size, size) for path in options.given_images]
        given: dict[str, Any] = dict(zip(("image", "last_image"), pictures, strict=False))
        if options.video:
            frames = read_clip(options.video, options.frames, rate, size, size)
            given["clip"] = to_tensor(frames)[None]
            given["strength"] = STRENGTH if options.strength is None else options.strength
        return given

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


def enlarge_frames(model: SuperResolution, clips: Tensor, seed: int, steps: int) -> Tensor:
    """Clips (B,3,F,H,W) at the size of a super-resolution model, drawn from the same noise in all frames."""
    count, _, frames, _, _ = clips.shape
    images = clips.transpose(1, 2).flatten(0, 1)
    large = model.sample(images, [seed] * len(images), steps=steps)
    return large.unflatten(0, (count, frames)).transpose(1, 2)


def read_picture(path: Path, width: int, height: int) -> Tensor:
    """The picture in a file as (1,3,height,width) in [-1, 1], see `read_image_cropped`."""
    return to_tensor(np.array(read_image_cropped(path, width, height))[None]).transpose(0, 1)


def to_tensor(frames: Frames) -> Tensor:
    """Frames (F,H,W,3) as (3,F,H,W) in [-1, 1]."""
    return torch.from_numpy(frames.astype(np.float32) / 127.5 - 1).permute(3, 0, 1, 2)
