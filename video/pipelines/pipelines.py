"""Clips by diffusers' own video pipelines: Wan, LTX, CogVideoX and ModelScope behind one surface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from core.io.pictures import read_image_cropped
from core.samplers import SamplerState
from core.sampling import StepCallback
from video.options import ClipOptions
from video.pipelines.families import Family
from video.pipelines.x0_estimate import X0Estimator
from video.record import CheckpointRecord

STILLS = 4  # frames of a preview


class PipelineModel(ABC):
    """A diffusers pipeline as a clip model. Latents are (1,C,F,h,w) here, whatever the pipeline's layout.

    A seed gives what the pipeline itself gives with a CPU generator of that seed: the same noise everywhere.
    """

    keeps_latents = True

    def __init__(self, pipeline: Any, family: Family, device: torch.device, record: CheckpointRecord) -> None:
        """pipeline: placed on the device, or to be placed there part by part."""
        self.pipeline = pipeline
        self.family = family
        self.device = device
        self.record = record

    @torch.no_grad()
    def sample(self, prompt: str, seed: int, options: ClipOptions, on_step: StepCallback) -> Tensor:
        """A clip (1,3,F,H,W) in [-1, 1]; the states' x0 is a guess for previews, see `Guess`."""
        guess = X0Estimator(self.pipeline.scheduler)
        steps = options.steps

        def after(_: Any, step: int, t: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            x, x0 = tensors["latents"], guess(step, tensors["latents"])
            if step + 1 < steps:  # the last state is told below, as the pipeline returns it
                state = SamplerState(
                    self.latents(x, options), self.latents(x0, options), step + 1, steps, int(t)
                )
                on_step(state)
            return {}

        result = self.pipeline(
            prompt=prompt,
            negative_prompt=options.negative,
            num_frames=options.frames,
            num_inference_steps=steps,
            guidance_scale=options.guidance,
            generator=torch.Generator().manual_seed(seed),
            output_type="latent",
            return_dict=False,
            **self.arguments(options),
            **self.listening(after),
        )
        x = self.latents(result[0], options)
        on_step(SamplerState(x, x, steps, steps, 0))
        return self.decode(x)

    @torch.no_grad()
    def decode(self, x: Tensor) -> Tensor:
        """A clip (1,3,F,H,W) in [-1, 1] of latents (1,C,F,h,w)."""
        clip = self.decode_latents(x.to(self.device)).float().clamp(-1, 1)
        self.pipeline.maybe_free_model_hooks()
        return clip

    def preview_frames(self, x: Tensor) -> Tensor:
        """Up to `STILLS` frames (1,3,F',H,W) from the whole length of the clip, each decoded by itself."""
        chosen = torch.linspace(0, x.shape[2] - 1, min(STILLS, x.shape[2])).round().int().tolist()
        return torch.cat([self.decode(x[:, :, i : i + 1])[:, :, :1] for i in chosen], dim=2)

    def arguments(self, options: ClipOptions) -> dict[str, Any]:
        """What the pipeline takes beside what every pipeline does."""
        width, height = self.family.resolution(options)
        size: dict[str, Any] = {"width": width, "height": height}
        if options.image:
            size["image"] = read_image_cropped(options.image, width, height)
        return size

    def listening(self, after: Any) -> dict[str, Any]:
        """The arguments that make the pipeline call `after(pipeline, step, t, {"latents": x})`."""
        return {"callback_on_step_end": after}

    def latents(self, x: Tensor, options: ClipOptions) -> Tensor:
        """Latents (1,C,F,h,w) from the pipeline's own layout."""
        return x

    @abstractmethod
    def decode_latents(self, x: Tensor) -> Tensor:
        """A clip (1,3,F,H,W) of latents (1,C,F,h,w) on the device, as the pipeline decodes them."""


class Wan(PipelineModel):
    """Wan: latents are normalized per channel."""

    def decode_latents(self, x: Tensor) -> Tensor:
        """As `PipelineModel.decode_latents`."""
        autoencoder = self.pipeline.vae
        mean = torch.tensor(autoencoder.config.latents_mean).view(1, -1, 1, 1, 1).to(x)
        deviation = torch.tensor(autoencoder.config.latents_std).view(1, -1, 1, 1, 1).to(x)
        return autoencoder.decode((x * deviation + mean).to(autoencoder.dtype), return_dict=False)[0]


class LTX(PipelineModel):
    """LTX-Video: latents are packed into patches; the frame rate is a condition."""

    def arguments(self, options: ClipOptions) -> dict[str, Any]:
        """As `PipelineModel.arguments`, with the frame rate."""
        return super().arguments(options) | {"frame_rate": options.fps}

    def latents(self, x: Tensor, options: ClipOptions) -> Tensor:
        """Latents (1,C,F,h,w), unpacked from patches."""
        width, height = self.family.resolution(options)
        ratio, pipeline = self.family.spatial, self.pipeline
        frames = (options.frames - 1) // self.family.stride + 1
        patches = pipeline.transformer_spatial_patch_size, pipeline.transformer_temporal_patch_size
        return pipeline._unpack_latents(x, frames, height // ratio, width // ratio, *patches)

    def decode_latents(self, x: Tensor) -> Tensor:
        """As `PipelineModel.decode_latents`."""
        autoencoder = self.pipeline.vae
        scale = autoencoder.config.scaling_factor
        x = self.pipeline._denormalize_latents(x, autoencoder.latents_mean, autoencoder.latents_std, scale)
        x = x.to(self.pipeline.transformer.dtype).to(autoencoder.dtype)
        conditioned = autoencoder.config.timestep_conditioning
        # The pipeline's default, 0: nothing is left to denoise, so that decoding draws no noise of its own.
        t = torch.zeros(1, device=x.device, dtype=x.dtype) if conditioned else None
        return autoencoder.decode(x, t, return_dict=False)[0]


class CogVideoX(PipelineModel):
    """CogVideoX: latents with the frames before the channels."""

    def latents(self, x: Tensor, options: ClipOptions) -> Tensor:
        """Latents (1,C,F,h,w), without the frames that version 1.5 adds in front and discards."""
        frames = (options.frames - 1) // self.family.stride + 1
        return x[:, x.shape[1] - frames :].transpose(1, 2)  # 1.5 puts frames before that it throws away

    def decode_latents(self, x: Tensor) -> Tensor:
        """As `PipelineModel.decode_latents`."""
        return self.pipeline.decode_latents(x.to(self.pipeline.vae.dtype).transpose(1, 2))


class ModelScope(PipelineModel):
    """ModelScope: its pipeline has the older callback, without `callback_on_step_end`."""

    def listening(self, after: Any) -> dict[str, Any]:
        """As `PipelineModel.listening`."""
        return {"callback": lambda step, t, x: after(self.pipeline, step, t, {"latents": x})}

    def decode_latents(self, x: Tensor) -> Tensor:
        """As `PipelineModel.decode_latents`."""
        return self.pipeline.decode_latents(x.to(self.pipeline.vae.dtype))
