"""Clip models: one interface to the bundled model, AnimateDiff and diffusers' video pipelines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.io.media import Color
from core.io.pictures import Frames, read_image_cropped
from core.models.super_resolution import SuperResolution
from core.sampling import StepCallback
from core.tiers import Tier, compute_dtype, tier_context
from video.cascade.distilled import DistilledConfig, load_student, merged
from video.cascade.interpolation import FrameInterpolation
from video.job import ClipJob
from video.options import ClipOptions, ClipRequest, frame_doublings
from video.record import CheckpointRecord, ModelRecord, read_model_record
from video.sampling.extension import SCALE
from video.sampling.input_clip import read_clip
from video.sampling.recognition import describe
from video.sampling.script import format_script, parse_script
from video.video_model import VideoModel

STRENGTH = 0.6  # how far a given clip is noised, unless the options say
CLIP_FRAMES = 4  # of a given clip, at which a model looks to recognize what it shows


class ClipModel(Protocol):
    """A loaded model that samples clips from prompts."""

    keeps_latents: bool  # whether latents are saved before decoding, because it is costly

    @property
    def record(self) -> ModelRecord | CheckpointRecord:
        """The weights, for run records."""
        ...

    def group(self, prompt: str, options: ClipOptions) -> str | None:
        """Clips of equal groups can be sampled by one call. None: this one by itself only."""
        ...

    def read(self, prompt: str) -> str:
        """The part of a prompt that the text encoder takes; a notice tells what is left out."""
        ...

    def sample(self, requests: Sequence[ClipRequest], on_step: StepCallback) -> Tensor:
        """Clips (B,3,F,H,W) in [-1, 1] of one group; each depends, up to rounding, on its own seed only.

        on_step: called after every step, the last time before decoding; its states are of all clips.
        """
        ...

    def decode(self, x: Tensor) -> Tensor:
        """The clips (B,3,F,H,W) in [-1, 1] of the last state's x."""
        ...

    def preview_frames(self, x: Tensor) -> Tensor:
        """Frames (B,3,F',H,W) of x for previews; fewer than x has where decoding is costly."""
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
        bundled: bool = False,
        tier: Tier | None = None,
    ) -> None:
        """Loads the weights.

        super_resolution, interpolation: folders of the later stages of the cascade.
        bundled: whether it knows the toybox, so that it can recognize what given frames show.

        distilled: folder of a model that needs few steps, drawn with in place of the full one.
        tier: in which clips are sampled; None is exact.

        Raises UserError for a folder that is missing, damaged or does not fit.
        """
        self.model = VideoModel.load(folder, device)
        if interpolation:
            self.model.interpolation = self._load_interpolation(interpolation, device)
        stages = {
            "super_resolution": super_resolution,
            "interpolation": interpolation,
            "distilled": distilled,
        }
        self.tier: Tier | None = tier
        self.record = read_model_record(folder, stages, compute_dtype(tier, device))
        self.distilled: DistilledConfig | None = None
        if distilled:
            self.distilled, student = load_student(distilled, self.model.denoiser, self.record.sha256)
            self.model.denoiser = merged(student)
        self.bundled = bundled
        self.super_resolution = SuperResolution.load(super_resolution, device) if super_resolution else None
        if self.super_resolution and self.super_resolution.config.low_size != self.model.config.image.size:
            raise UserError(f"The super-resolution model in {super_resolution} takes images of another size.")

    def group(self, prompt: str, options: ClipOptions) -> str | None:
        """The options but for camera and phase; None for scripts and for clips from given frames."""
        if options.has_given_frames or parse_script(prompt):
            return None
        camera = None if options.azimuth is None else 0.0
        return options.of_sampling(azimuth=camera, elevation=camera, phase=None)

    def read(self, prompt: str) -> str:
        """The part of a prompt, or of each scene of a script, that the text encoder takes."""
        scenes = parse_script(prompt)
        if not scenes:
            return self.model.read(prompt)
        return format_script([scene._replace(prompt=self.model.read(scene.prompt)) for scene in scenes])

    def sample(self, requests: Sequence[ClipRequest], on_step: StepCallback) -> Tensor:
        """Clips (B,3,F,H,W) in [-1, 1] of one group; see `ClipModel`."""
        with tier_context(self.tier, self.model.device):
            return self._sample(requests, on_step).float()

    def _sample(self, requests: Sequence[ClipRequest], on_step: StepCallback) -> Tensor:
        common, seeds = requests[0].options, [request.seed for request in requests]
        scripts = [parse_script(request.prompt) for request in requests]
        rate = self._frame_rate(common)
        self._check_distilled(common)
        clips = self.model.sample(
            [(scenes or [request])[0].prompt for scenes, request in zip(scripts, requests, strict=True)],
            frames=common.frames,
            steps=common.steps,
            guidance=common.guidance,
            negative=common.negative,
            sampler=common.sampler,
            eta=common.eta,
            guidance_interval=common.guidance_interval,
            guidance_rescale=common.guidance_rescale,
            seeds=seeds,
            azimuth=_each([request.options.azimuth for request in requests]),
            elevation=_each([request.options.elevation for request in requests]),
            # Left open, a shadow comes and goes within a clip; nothing casts one without a ground.
            shadow=not common.transparent,
            phase=_each([request.options.phase or 0.0 for request in requests]),
            last_phase=common.last_phase,
            **self._given(common),
            loop=common.loop,
            extension_scale=0.0 if common.extension == "replacement" else SCALE,
            changes=[(scene.start * rate, scene.prompt) for scene in scripts[0][1:]],
            doublings=frame_doublings(common.fps) if self.model.interpolation else 0,
            on_step=on_step,
        )
        steps = 1 if common.super_resolution is None else common.super_resolution
        if not self.super_resolution or not steps:
            return clips
        pairs = zip(clips.split(1), seeds, strict=True)
        return torch.cat([enlarge_frames(self.super_resolution, clip, seed, steps) for clip, seed in pairs])

    def recognize(self, job: ClipJob, options: ClipOptions, complete: bool) -> tuple[ClipJob, ClipOptions]:
        """A job and options with what the given frames show: camera and phase, where they are not given.

        complete: also color and place, where the prompt leaves them open.
        """
        given = self._given(options)
        frames, indices = given.get("clip"), range(0, options.frames, max(1, options.frames // CLIP_FRAMES))
        if frames is not None:
            frames = frames[:, :, [*indices]]
        elif "image" in given:
            frames, indices = given["image"][:, :, None], (0,)
        else:
            return job, options
        scenes = parse_script(job.text)
        camera = None
        if options.azimuth is not None and options.elevation is not None:
            camera = (options.azimuth, options.elevation)
        prompt = scenes[0].prompt if scenes else job.text
        seen = self.model.recognize(prompt, frames, indices, camera)
        options = options.with_changes(
            azimuth=seen.azimuth,
            elevation=seen.elevation,
            phase=seen.phase if options.phase is None else None,
        )
        if "last_image" in given and options.last_phase is None:
            text = describe(prompt, seen.color, seen.place)
            camera = (seen.azimuth, seen.elevation)
            last = self.model.recognize(text, given["last_image"][:, :, None], (0,), camera)
            options = options.with_changes(last_phase=last.phase)
        if not complete:
            return job, options
        return job.completed_by(lambda prompt: describe(prompt, seen.color, seen.place)), options

    def _given(self, options: ClipOptions) -> dict[str, Any]:
        """The arguments of `VideoModel.sample` for the given pictures or clip."""
        size = self.model.config.image.size
        pictures = [read_picture(path, size, size, options.background_color) for path in options.given_images]
        given: dict[str, Any] = dict(zip(("image", "last_image"), pictures, strict=False))
        if options.video:
            rate, background = self._frame_rate(options), options.background_color
            frames = read_clip(options.video, options.frames, rate, size, size, background)
            given["clip"] = to_tensor(frames)[None]
            given["strength"] = STRENGTH if options.strength is None else options.strength
        return given

    def _frame_rate(self, options: ClipOptions) -> float:
        """Frames per second before temporal super-resolution."""
        return options.fps / 2 ** (frame_doublings(options.fps) if self.model.interpolation else 0)

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
        """The clips (B,3,F,H,W) in [-1, 1] of the last state's x."""
        return self.model.decode(x)

    def preview_frames(self, x: Tensor) -> Tensor:
        """All frames (B,3,F,H,W) in [-1, 1]: the first stage is cheap."""
        return self.model.decode(x)


def _each(values: Sequence[float | None]) -> Tensor | float | None:
    """An attribute of several clips (B,), or the one of a single clip; None where it is not given."""
    if len(values) == 1 or values[0] is None:
        return values[0]
    return torch.tensor(values)


def enlarge_frames(model: SuperResolution, clips: Tensor, seed: int, steps: int) -> Tensor:
    """Clips (B,3,F,H,W) at the size of a super-resolution model, drawn from the same noise in all frames."""
    count, _, frames, _, _ = clips.shape
    images = clips.transpose(1, 2).flatten(0, 1)
    large = model.sample(images, [seed] * len(images), steps=steps)
    return large.unflatten(0, (count, frames)).transpose(1, 2)


def read_picture(path: Path, width: int, height: int, background: Color) -> Tensor:
    """The picture in a file as (1,3,height,width) in [-1, 1], see `read_image_cropped`."""
    return to_tensor(np.array(read_image_cropped(path, width, height, background))[None]).transpose(0, 1)


def to_tensor(frames: Frames) -> Tensor:
    """Frames (F,H,W,3) as (3,F,H,W) in [-1, 1]."""
    return torch.from_numpy(frames.astype(np.float32) / 127.5 - 1).permute(3, 0, 1, 2)
