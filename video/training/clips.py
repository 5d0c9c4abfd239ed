"""Training the video model: its loss, its preset, its clips and its task."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.losses import clipped_snr_weight, detail_weights, prediction_error, simple_loss
from core.training.batch import Batch
from core.training.config import MonitoringConfig, TrainingConfig
from core.training.data import NO_DROPOUT, Captions, ConditionDropout, ImageData, Shards
from core.training.tasks.images import ImageBatch
from core.training.trainer import stratified_timesteps
from video.nn.temporal import TemporalConfig
from video.sampling.clip_tensors import clip_attributes, frame_by_frame, mixed_noise


def clip_loss(
    denoiser: Denoiser,
    x0: Tensor,
    t: Tensor,
    condition: Condition,
    noise: Tensor,
    motion_weight: float = 1.0,
    detail_weight: float = 0.0,
) -> Tensor:
    """Mean squared error of clips (B,C,F,H,W), with a weight on the part that changes between frames.

    The error is split into its mean over the frames and the deviations from that mean. Most of a clip is
    static, so the mean dominates `core.losses.simple_loss`. The deviations, which carry the motion, count
    `motion_weight` times as much. The sum of the two parts is a positive definite quadratic form in the
    error, so the optimal prediction is that of `simple_loss`; weights of 1 and 0 are `simple_loss` itself.

    detail_weight: of `core.losses.detail_weights`, averaged over the frames; it does change the optimum. The
    other arguments are those of `core.losses.prediction_error`. Returns (B,).
    """
    error = prediction_error(denoiser, x0, t, condition, noise)
    return _weighted_squares(error, x0, motion_weight, detail_weight)


def _weighted_squares(error: Tensor, x0: Tensor, motion_weight: float, detail_weight: float) -> Tensor:
    """The loss of `clip_loss`, (B,), for the error of the network's output at clips x0."""
    if detail_weight:
        error = error * _detail_of_frames(x0, detail_weight).mean(2, keepdim=True).sqrt()
    static = error.mean(2, keepdim=True)
    squares = static.square().flatten(1).mean(1), (error - static).square().flatten(1).mean(1)
    return (squares[0] + motion_weight * squares[1]) * 2 / (1 + motion_weight)


def _detail_of_frames(x0: Tensor, weight: float) -> Tensor:
    """`core.losses.detail_weights` of the frames of clips (B,C,F,H,W), (B,1,F,H,W)."""
    return frame_by_frame(lambda images: detail_weights(images, weight), x0)


class VideoPreset(BaseModel):
    """Preset of the video model: its temporal layers and its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temporal: TemporalConfig = TemporalConfig()
    noise_share: float = Field(
        default=0.5, ge=0, lt=1, description="share of the noise variance common to all frames"
    )
    frames: int = Field(default=8, ge=1, description="frames of a training clip")
    strides: tuple[int, ...] = Field(
        default=(1, 2), min_length=1, description="strides of training clips, equally likely"
    )
    appended_images: int = Field(
        default=0, ge=0, description="independent images after each clip; see `VideoTask`"
    )
    image_steps: float = Field(default=0.2, ge=0, le=1, description="share of the steps that train on images")
    objects: bool = Field(default=False, description="include images of objects in those steps")
    image_rate: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="factor on the learning rate of the image layers; 0 freezes them",
    )
    motion_weight: float = Field(default=1.0, gt=0, description="see video.training.clips.clip_loss")
    detail_weight: float = Field(default=0.0, ge=0, description="see core.losses.detail_weights")
    snr_gamma: float = Field(default=200.0, gt=0, description="see core.losses.clipped_snr_weight")
    dropout: ConditionDropout = ConditionDropout(phase=0.2)
    training: TrainingConfig = TrainingConfig(batch_size=8, learning_rate=3e-4)
    monitoring: MonitoringConfig = MonitoringConfig()

    @model_validator(mode="after")
    def _strides_are_positive(self) -> VideoPreset:
        if min(self.strides) < 1:
            raise ValueError("strides must be at least 1")
        return self

    @model_validator(mode="after")
    def _images_train_something(self) -> VideoPreset:
        if not self.image_rate and (self.image_steps or self.appended_images):
            raise ValueError(
                "image_rate 0 freezes the image layers, and images train no others: image_steps and "
                "appended_images must be 0 too"
            )
        return self

    def rate(self, name: str) -> float:
        """Factor on the learning rate of a parameter, by its name."""
        return self.image_rate if name.startswith("image.") else 1.0


class ClipData:
    """Training clips, cut from looping clips, with their conditions. Random by torch's global generators."""

    def __init__(
        self,
        shards: Shards,
        captions: Captions,
        dropout: ConditionDropout,
        frames: int,
        strides: tuple[int, ...],
    ) -> None:
        self.shards, self.captions, self.dropout = shards, captions, dropout
        self.frames, self.strides = frames, torch.tensor(strides)

    def __len__(self) -> int:
        return len(self.shards)

    def batch(self, index: Tensor) -> tuple[Tensor, Condition]:
        """index: (B,) on the CPU -> `(clips (B,3,F,H,W) in [-1, 1], condition with attributes (B,F,V))`.

        A loop starts at a random frame and takes one of the strides. A clip without a phase is no loop: it
        starts where its frames suffice, and takes a smaller stride where they do not suffice otherwise.
        """
        count, loop, device = len(index), self.shards.frames, self.shards.device
        start = torch.randint(loop, (count,))
        stride = self.strides[torch.randint(len(self.strides), (count,))]
        column = self.shards.rows(index)
        ends = column["phase"].isnan().cpu()
        reach = self.frames - 1
        stride = torch.where(ends, stride.clamp(max=max(1, (loop - 1) // max(1, reach))), stride)
        start = torch.where(ends, start % (loop - reach * stride).clamp(min=1), start)
        frames = (start[:, None] + stride[:, None] * torch.arange(self.frames)) % loop
        attributes = clip_attributes(
            count,
            self.frames,
            (stride / loop).to(device),
            column["phase"] + (start / loop).to(device),
            azimuth=column["azimuth"],
            elevation=column["elevation"],
            shadow=column["shadow"],
        )
        text = self.dropout.drop_text(self.captions, self.shards.draw_captions(index))
        return self.shards.pixels(index, frames), Condition(*text, self.dropout.drop_attributes(attributes))


class FrameByFrame(nn.Module):
    """A space-time network applied to images, without its temporal layers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """images: (B,C,H,W); returns a tensor like it."""
        return self.network(images[:, :, None], t, condition, independent_frames=True)[:, :, 0]


class ClipsWithImages(nn.Module):
    """A space-time network applied to clips that are followed by independent images."""

    def __init__(self, network: nn.Module, images: int) -> None:
        """images: the number of last frames that are images."""
        super().__init__()
        self.network, self.images = network, images

    def forward(self, clip: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """clip: (B,C,F+images,H,W); condition: one for each frame. Returns a tensor like clip."""
        return self.network(clip, t, condition, appended_images=self.images)


@dataclass(frozen=True, eq=False)
class ClipBatch(Batch):
    """Clips (B,C,F,H,W) with their conditions, timesteps (B,) and noise.

    images, of_images, image_noise: appended to each clip, (B,C,K,H,W), with conditions of length B*K.
    """

    clips: Tensor
    condition: Condition
    t: Tensor
    noise: Tensor
    images: Tensor | None = None
    of_images: Condition | None = None
    image_noise: Tensor | None = None


class VideoTask:
    """Denoising of clips with mixed noise, and of independent images (Ho et al. 2022, section 3).

    The images keep the image layers from forgetting what clips rarely show. They come in steps of their own,
    without the temporal layers, or `appended_images` follow every clip at its noise level. The preset sets
    their numbers, the noise and the loss.
    """

    def __init__(self, clips: ClipData, images: ImageData, preset: VideoPreset, timesteps: int) -> None:
        """timesteps: T of the model's noise schedule."""
        self.clips, self.images, self.preset, self.timesteps = clips, images, preset, timesteps

    def __len__(self) -> int:
        return len(self.clips)

    @classmethod
    def validating(cls, clips: Shards, captions: Captions, preset: VideoPreset, timesteps: int) -> VideoTask:
        """The task of held-back clips, alone and with complete conditions."""
        alone = preset.model_copy(update={"image_steps": 0.0, "appended_images": 0})
        data = ClipData(clips, captions, NO_DROPOUT, preset.frames, preset.strides)
        return cls(data, ImageData([clips], captions, NO_DROPOUT), alone, timesteps)

    def draw(self, index: Tensor) -> ClipBatch | ImageBatch:
        """The clips at index (B,), on the CPU, or B*F images in their place, with everything random."""
        if torch.rand(()) < self.preset.image_steps:
            return self._draw_images(len(index) * self.clips.frames)
        clips, condition = self.clips.batch(index)
        t = stratified_timesteps(len(clips), self.timesteps, clips.device)
        share = self.preset.noise_share
        noise = mixed_noise(torch.randn_like(clips[:, :, :1]), torch.randn_like(clips), share)
        if not self.preset.appended_images:
            return ClipBatch(clips, condition, t, noise)
        appended = torch.randint(len(self.images), (len(clips) * self.preset.appended_images,))
        images, of_images = self.images.batch(appended)
        images = images.unflatten(0, (len(clips), -1)).transpose(1, 2)
        return ClipBatch(clips, condition, t, noise, images, of_images, torch.randn_like(images))

    def loss(self, denoiser: Denoiser, batch: Tensor | ClipBatch | ImageBatch) -> Tensor:
        """Weighted loss of each clip, (B,), or of each of B*F images. batch: from `draw`, or the index."""
        preset = self.preset
        if isinstance(batch, Tensor):
            batch = self.draw(batch)
        if isinstance(batch, ImageBatch):
            of_images = denoiser.with_network(FrameByFrame(denoiser.network))
            weights = detail_weights(batch.images, preset.detail_weight) if preset.detail_weight else None
            loss = simple_loss(of_images, batch.images, batch.t, batch.condition, batch.noise, weights)
        elif batch.images is not None:
            loss = self._joint_loss(denoiser, batch)
        else:
            clips = batch.clips, batch.t, batch.condition, batch.noise
            loss = clip_loss(denoiser, *clips, preset.motion_weight, preset.detail_weight)
        return clipped_snr_weight(denoiser, batch.t, preset.snr_gamma) * loss

    def _draw_images(self, count: int) -> ImageBatch:
        images, condition = self.images.batch(torch.randint(len(self.images), (count,)))
        t = stratified_timesteps(count, self.timesteps, images.device)
        return ImageBatch(images, condition, t, torch.ones(count, device=t.device), torch.randn_like(images))

    def _joint_loss(self, denoiser: Denoiser, batch: ClipBatch) -> Tensor:
        """Loss (B,) of clips with appended images, in which every frame and every image counts alike."""
        preset, clips, images = self.preset, batch.clips, batch.images
        assert images is not None and batch.of_images is not None and batch.image_noise is not None
        frames, appended = clips.shape[2], images.shape[2]
        error = prediction_error(
            denoiser.with_network(ClipsWithImages(denoiser.network, appended)),
            torch.cat([clips, images], dim=2),
            batch.t,
            condition_of_each(batch.condition, frames, batch.of_images),
            torch.cat([batch.noise, batch.image_noise], dim=2),
        )
        clip_error, image_error = error.split([frames, appended], dim=2)
        of_clip = _weighted_squares(clip_error, clips, preset.motion_weight, preset.detail_weight)
        squares = image_error.square()
        if preset.detail_weight:
            squares = squares * _detail_of_frames(images, preset.detail_weight)
        return (frames * of_clip + appended * squares.flatten(1).mean(1)) / (frames + appended)


def condition_of_each(clips: Condition, frames: int, images: Condition) -> Condition:
    """One condition for each frame of clips and for each image after them, of length B*(frames+K).

    clips: of length B, attributes (B,V) or (B,frames,V); images: of length B*K, K for each clip in turn.
    """
    of_frames = clips.repeat_interleave(frames)
    if clips.attributes.ndim == 3:
        of_frames = replace(of_frames, attributes=clips.attributes.flatten(0, 1))
    rows = torch.arange(len(of_frames) + len(images), device=clips.tokens.device)
    parts = rows[: len(of_frames)].view(len(clips), -1), rows[len(of_frames) :].view(len(clips), -1)
    return Condition.cat([of_frames, images])[torch.cat(parts, dim=1).flatten()]
