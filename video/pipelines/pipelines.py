"""diffusers' video pipelines (Wan, LTX, CogVideoX, ModelScope) behind one clip-model interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.finite import require_finite
from core.io.pictures import read_image_cropped
from core.pretrained.text import read_tokens
from core.samplers import SamplerState
from core.sampling import StepCallback
from video.options import ClipOptions, ClipRequest
from video.pipelines.families import CLIP_TOKENS, TOKENS, Family
from video.pipelines.x0_estimate import X0Estimator
from video.record import CheckpointRecord

STILLS = 4  # frames of a preview


class PipelineModel(ABC):
    """Adapter from a diffusers pipeline to the clip-model interface.

    Latents are (B,C,F,h,w), whatever the pipeline's own layout. A seed gives the same clip as the pipeline
    itself with a CPU generator of that seed, so the noise does not depend on the device.
    """

    keeps_latents = True

    def __init__(self, pipeline: Any, family: Family, device: torch.device, record: CheckpointRecord) -> None:
        """pipeline: on the device, or with offload hooks that move its parts there."""
        self.pipeline = pipeline
        self.family = family
        self.device = device
        self.record = record

    def group(self, prompt: str, options: ClipOptions) -> str | None:
        """The options; None with a given image, which pipelines take for all clips of a call.

        None with a cache, too, which decides by all clips of a call what it computes.
        """
        return None if options.image or options.cache else options.of_sampling()

    def read(self, prompt: str) -> str:
        """The part of a prompt that the text encoder takes; see `ClipModel`."""
        return read_tokens(prompt, self.pipeline.tokenizer, TOKENS.get(self.family.title, CLIP_TOKENS))

    def sample(self, requests: Sequence[ClipRequest], on_step: StepCallback) -> Tensor:
        """Clips (B,3,F,H,W) in [-1, 1] of one group. The x0 of states is an estimate by `X0Estimator`."""
        return self.decode(self.sample_latents(requests, on_step))

    @torch.no_grad()
    def sample_latents(self, requests: Sequence[ClipRequest], on_step: StepCallback) -> Tensor:
        """Latents (B,C,F,h,w) of the clips of one group; arguments as in `sample`."""
        estimate_x0 = X0Estimator(self.pipeline.scheduler)
        common = requests[0].options
        steps = common.steps

        def after_step(_: Any, step: int, t: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            x = require_finite(tensors["latents"], "The sample", f"after step {step + 1} of {steps}")
            x0 = estimate_x0(step, x)
            if step + 1 < steps:  # the last state is reported below, with the result of the pipeline
                state = SamplerState(
                    self.latents(x, common), self.latents(x0, common), step + 1, steps, int(t)
                )
                on_step(state)
            return {}

        result = self.pipeline(
            prompt=[request.prompt for request in requests],
            negative_prompt=[common.negative] * len(requests),
            num_frames=common.frames,
            num_inference_steps=steps,
            guidance_scale=common.guidance,
            generator=[torch.Generator().manual_seed(request.seed) for request in requests],
            output_type="latent",
            return_dict=False,
            **self.arguments(common),
            **self.listening(after_step),
        )
        x = require_finite(self.latents(result[0], common), "The sample", f"after step {steps} of {steps}")
        on_step(SamplerState(x, x, steps, steps, 0))
        return x

    @torch.no_grad()
    def decode(self, x: Tensor) -> Tensor:
        """Clips (B,3,F,H,W) in [-1, 1] decoded from latents (B,C,F,h,w), one after another.

        Raises UserError for an output of the autoencoder that is not finite, which would become black.
        """
        clips = [self.decode_latents(each.to(self.device)).float() for each in x.split(1)]
        self.pipeline.maybe_free_model_hooks()
        return require_finite(torch.cat(clips), "The autoencoder's output").clamp(-1, 1)

    def preview_frames(self, x: Tensor) -> Tensor:
        """Up to `STILLS` frames (B,3,F',H,W), evenly spaced over the clip, each decoded separately."""
        indices = torch.linspace(0, x.shape[2] - 1, min(STILLS, x.shape[2])).round().int().tolist()
        return torch.cat([self.decode(x[:, :, i : i + 1])[:, :, :1] for i in indices], dim=2)

    def arguments(self, options: ClipOptions) -> dict[str, Any]:
        """Arguments of the pipeline call that depend on the options and the family."""
        width, height = self.family.resolution(options)
        arguments: dict[str, Any] = {"width": width, "height": height}
        if options.image:
            arguments["image"] = read_image_cropped(options.image, width, height, options.background_color)
        return arguments

    def listening(self, after: Any) -> dict[str, Any]:
        """Arguments that make the pipeline call `after(pipeline, step, t, {"latents": x})` each step."""
        return {"callback_on_step_end": after}

    def latents(self, x: Tensor, options: ClipOptions) -> Tensor:
        """Latents (B,C,F,h,w) converted from the pipeline's own layout."""
        return x

    @abstractmethod
    def decode_latents(self, x: Tensor) -> Tensor:
        """A clip (1,3,F,H,W) decoded from latents (1,C,F,h,w) on the device, as the pipeline does it."""


class Wan(PipelineModel):
    """Wan 2.1 and 2.2."""

    def decode_latents(self, x: Tensor) -> Tensor:
        """Decodes latents that are normalized per channel."""
        autoencoder = self.pipeline.vae
        mean = torch.tensor(autoencoder.config.latents_mean).view(1, -1, 1, 1, 1).to(x)
        deviation = torch.tensor(autoencoder.config.latents_std).view(1, -1, 1, 1, 1).to(x)
        return autoencoder.decode((x * deviation + mean).to(autoencoder.dtype), return_dict=False)[0]


class LTX(PipelineModel):
    """LTX-Video."""

    def arguments(self, options: ClipOptions) -> dict[str, Any]:
        """Adds the frame rate, on which the network is conditioned."""
        return super().arguments(options) | {"frame_rate": options.fps}

    def latents(self, x: Tensor, options: ClipOptions) -> Tensor:
        """Latents (B,C,F,h,w) from the pipeline's tokens (B,L,D)."""
        width, height = self.family.resolution(options)
        ratio, pipeline = self.family.spatial, self.pipeline
        frames = (options.frames - 1) // self.family.stride + 1
        patches = pipeline.transformer_spatial_patch_size, pipeline.transformer_temporal_patch_size
        return pipeline._unpack_latents(x, frames, height // ratio, width // ratio, *patches)

    def decode_latents(self, x: Tensor) -> Tensor:
        """Decodes latents that are normalized per channel, at timestep 0 if the decoder takes one."""
        autoencoder = self.pipeline.vae
        scale = autoencoder.config.scaling_factor
        x = self.pipeline._denormalize_latents(x, autoencoder.latents_mean, autoencoder.latents_std, scale)
        x = x.to(self.pipeline.transformer.dtype).to(autoencoder.dtype)
        conditioned = autoencoder.config.timestep_conditioning
        # 0 is the pipeline's default: nothing is left to denoise, so the decoder adds no noise.
        t = torch.zeros(1, device=x.device, dtype=x.dtype) if conditioned else None
        return autoencoder.decode(x, t, return_dict=False)[0]


class CogVideoX(PipelineModel):
    """CogVideoX 1.0 and 1.5."""

    def latents(self, x: Tensor, options: ClipOptions) -> Tensor:
        """Latents (B,C,F,h,w) from (B,F',C,h,w), without the frames that pad the front."""
        frames = (options.frames - 1) // self.family.stride + 1
        return x[:, x.shape[1] - frames :].transpose(1, 2)  # 1.5 pads the front with frames and discards them

    def decode_latents(self, x: Tensor) -> Tensor:
        """Decodes latents in the pipeline's layout (1,F,C,h,w)."""
        return self.pipeline.decode_latents(x.to(self.pipeline.vae.dtype).transpose(1, 2))


class ModelScope(PipelineModel):
    """ModelScope's text-to-video U-Net."""

    def listening(self, after: Any) -> dict[str, Any]:
        """Uses diffusers' older `callback` argument, the only one of this pipeline."""
        return {"callback": lambda step, t, x: after(self.pipeline, step, t, {"latents": x})}

    def decode_latents(self, x: Tensor) -> Tensor:
        """Decodes latents with the pipeline's own method."""
        return self.pipeline.decode_latents(x.to(self.pipeline.vae.dtype))
