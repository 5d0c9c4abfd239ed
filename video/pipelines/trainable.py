"""Wan, LTX and CogVideoX to be trained on: text, latents, and the transformer as a denoiser.

Conditions and latents are those of diffusers' pipelines at sampling. A schedule's noise levels are those that
diffusers' training scripts take from the model's scheduler, one for each integer timestep.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.attributes import encode_attributes
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.pretrained.hub import component_config
from core.pretrained.trainable import load_parts
from core.pretrained.weights import fingerprint
from video.pipelines.families import Family

TEXT_PARTS = ("tokenizer", "text_encoder")


class TrainableVideoModel(ABC):
    """A text-to-video checkpoint of one of the families below."""

    flow = True

    def __init__(self, folder: Path, family: Family, fps: float, recompute: bool = True) -> None:
        """folder: of a diffusers pipeline; its configs suffice at first.

        fps: frames per second of the clips. recompute: activations in the backward pass.
        """
        self.folder, self.family, self.fps, self.recompute = folder, family, fps, recompute

    def check(self, width: int, height: int, frames: int) -> None:
        """Raises UserError for clips that the model does not take. Sizes in pixels."""
        self.family.check_shape(width, height, frames, dashes="")

    def text_key(self) -> str:
        """A name of the text encoder, by its weights."""
        return fingerprint(self.folder, TEXT_PARTS)

    def load_text_encoder(
        self, device: torch.device, dtype: torch.dtype
    ) -> Callable[[Sequence[str]], Condition]:
        """The T5 encoder: conditions of prompts, as the pipeline makes them."""
        pipeline = load_parts(self.folder, TEXT_PARTS, dtype).to(device)

        def encode(prompts: Sequence[str]) -> Condition:
            with torch.no_grad():
                tokens, mask = self.encode_prompts(pipeline, list(prompts))
            return Condition(tokens.float(), mask, encode_attributes(len(prompts)).to(tokens.device))

        return encode

    def latents_key(self) -> str:
        """A name of the autoencoder, by its weights."""
        return fingerprint(self.folder, ["vae"])

    def load_first_stage(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """The autoencoder in float32: latents (N,C,F',h,w) of clips (N,3,F,H,W), one clip at a time."""
        vae = load_parts(self.folder, ["vae"], torch.float32).vae.to(device)

        def encode(clips: Tensor) -> Tensor:
            means = [vae.encode(clip.to(device)).latent_dist.mode() for clip in clips.split(1)]
            return self.normalize(vae, torch.cat(means))

        return encode

    def load_denoiser(self, device: torch.device, dtype: torch.dtype, shape: Sequence[int]) -> Denoiser:
        """The frozen transformer. shape: (C,F',h,w) of the latents."""
        pipeline = load_parts(self.folder, ["transformer"], dtype)
        pipeline.transformer.to(device)
        if self.recompute:
            pipeline.transformer.enable_gradient_checkpointing()
        return self.denoiser(pipeline, shape).requires_grad_(False)

    @abstractmethod
    def encode_prompts(self, pipeline: Any, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Token states (B,L,D) and their mask (B,L), which is True where the transformer attends."""

    @abstractmethod
    def normalize(self, vae: Any, latents: Tensor) -> Tensor:
        """Latents (N,C,F',h,w) of the autoencoder as the transformer takes them."""

    @abstractmethod
    def denoiser(self, pipeline: Any, shape: Sequence[int]) -> Denoiser:
        """The transformer with its schedule; only they are in the pipeline."""


class TrainableWan(TrainableVideoModel):
    """Wan 2.1, and the model of Wan 2.2 with one transformer: rectified flow with the scheduler's shift."""

    def encode_prompts(self, pipeline: Any, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """512 states, zeros after the prompt's; the transformer attends to all."""
        tokens, _ = pipeline.encode_prompt(prompts, None, False, max_sequence_length=512)
        return tokens, _everywhere(tokens)

    def normalize(self, vae: Any, latents: Tensor) -> Tensor:
        """Mean 0 and deviation 1 in every channel."""
        mean, deviation = (
            torch.tensor(values).view(-1, 1, 1, 1).to(latents)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        return (latents - mean) / deviation

    def denoiser(self, pipeline: Any, shape: Sequence[int]) -> Denoiser:
        """The velocity noise - x0; the transformer takes sigma times the number of timesteps."""
        config = pipeline.scheduler.config
        shift = config.get("flow_shift") or config.get("shift") or 1.0
        schedule = NoiseSchedule.flow(config.num_train_timesteps, shift)
        return Denoiser(WanNetwork(pipeline.transformer, schedule), schedule, Parameterization.FLOW)


class TrainableLTX(TrainableVideoModel):
    """LTX-Video: rectified flow, shifted by the number of tokens of a clip."""

    def encode_prompts(self, pipeline: Any, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """128 states, and the mask of the prompt's own."""
        tokens, mask, *_ = pipeline.encode_prompt(prompts, None, False)
        return tokens, mask.bool()

    def normalize(self, vae: Any, latents: Tensor) -> Tensor:
        """Mean 0 and deviation `scaling_factor` in every channel."""
        mean, deviation = (
            values.view(-1, 1, 1, 1).to(latents) for values in (vae.latents_mean, vae.latents_std)
        )
        return (latents - mean) * vae.config.scaling_factor / deviation

    def denoiser(self, pipeline: Any, shape: Sequence[int]) -> Denoiser:
        """The velocity noise - x0; the transformer takes sigma times the number of timesteps."""
        config = pipeline.scheduler.config
        schedule = NoiseSchedule.flow(config.num_train_timesteps, ltx_shift(config, math.prod(shape[1:])))
        scale = (self.family.stride / self.fps, self.family.spatial, self.family.spatial)
        network = LTXNetwork(pipeline.transformer, schedule, scale)
        return Denoiser(network, schedule, Parameterization.FLOW)


class TrainableCogVideoX(TrainableVideoModel):
    """CogVideoX 1.0 and 1.5: v-prediction at the scheduler's own noise levels.

    diffusers' training script weights the error of x0 by 1 / sigma^2. As x0 = alpha x_t - sigma v, that is
    the error of v, which `simple_loss` takes.
    """

    flow = False

    def encode_prompts(self, pipeline: Any, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """States of the padded prompts; the transformer attends to the padding too."""
        length = component_config(self.folder, "transformer").get("max_text_seq_length", 226)
        tokens, _ = pipeline.encode_prompt(prompts, None, False, max_sequence_length=length)
        return tokens, _everywhere(tokens)

    def normalize(self, vae: Any, latents: Tensor) -> Tensor:
        """Times `scaling_factor`, with copies of the first frame before it where 1.5 lacks some.

        The transformer of 1.5 takes pairs of latent frames. At sampling the pipeline draws one more, too, and
        drops the first.
        """
        together = component_config(self.folder, "transformer").get("patch_size_t") or 1
        first = latents[:, :, :1].expand(-1, -1, -latents.shape[2] % together, -1, -1)
        return torch.cat([first, latents], dim=2) * vae.config.scaling_factor

    def denoiser(self, pipeline: Any, shape: Sequence[int]) -> Denoiser:
        """The noise levels are a table of the scheduler."""
        squares = pipeline.scheduler.alphas_cumprod.double()
        schedule = NoiseSchedule("cogvideox", squares.sqrt(), (1 - squares).sqrt(), {})
        return Denoiser(CogVideoXNetwork(pipeline), schedule, Parameterization.V)


FAMILIES: dict[str, type[TrainableVideoModel]] = {
    "Wan": TrainableWan,
    "LTX": TrainableLTX,
    "CogVideoX": TrainableCogVideoX,
}


class WanNetwork(nn.Module):
    """Wan's transformer: velocity (B,C,F',h,w) of latents at timesteps (B,) of its schedule."""

    def __init__(self, transformer: Any, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.transformer, self.schedule = transformer, schedule

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """A tensor like x (B,C,F',h,w)."""
        dtype = self.transformer.dtype
        time = network_time(self.schedule, t)
        return self.transformer(x.to(dtype), time, condition.tokens.to(dtype), return_dict=False)[0]


class LTXNetwork(nn.Module):
    """LTX's transformer: velocity (B,C,F',h,w) of latents at timesteps (B,) of its schedule."""

    def __init__(self, transformer: Any, schedule: NoiseSchedule, scale: tuple[float, int, int]) -> None:
        """scale: seconds of a latent frame, and pixels along the sides of a latent."""
        super().__init__()
        self.transformer, self.schedule, self.scale = transformer, schedule, scale

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """A tensor like x (B,C,F',h,w), which the transformer takes as tokens of one latent each."""
        dtype, sizes = self.transformer.dtype, x.shape[2:]
        out = self.transformer(
            x.flatten(2).transpose(1, 2).to(dtype),
            condition.tokens.to(dtype),
            network_time(self.schedule, t),
            condition.mask,
            *sizes,
            rope_interpolation_scale=self.scale,
            return_dict=False,
        )[0]
        return out.transpose(1, 2).unflatten(2, sizes)


class CogVideoXNetwork(nn.Module):
    """CogVideoX's transformer: v (B,C,F',h,w) of latents at timesteps (B,)."""

    def __init__(self, pipeline: Any) -> None:
        """pipeline: with the transformer, whose positions it computes."""
        super().__init__()
        self.transformer = pipeline.transformer
        self.positions = pipeline._prepare_rotary_positional_embeddings
        self.downscale = pipeline.vae_scale_factor_spatial

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """A tensor like x (B,C,F',h,w)."""
        dtype, rotary = self.transformer.dtype, None
        if self.transformer.config.use_rotary_positional_embeddings:
            height, width = (side * self.downscale for side in x.shape[3:])
            rotary = self.positions(height, width, x.shape[2], x.device)
        frames, tokens = x.transpose(1, 2).to(dtype), condition.tokens.to(dtype)
        out = self.transformer(frames, tokens, t, image_rotary_emb=rotary, return_dict=False)[0]
        return out.transpose(1, 2)


def network_time(schedule: NoiseSchedule, t: Tensor) -> Tensor:
    """Timesteps (B,) as a flow transformer takes them: sigma times the number of timesteps, float32."""
    return (schedule.timesteps * schedule.sigma(t)).float()


def ltx_shift(config: Any, tokens: int) -> float:
    """Shift of LTX's schedule for a clip of so many tokens, by its scheduler's config.

    The exponential shift e^mu / (e^mu + 1 / sigma - 1) of the scheduler is that of `NoiseSchedule.flow` with
    shift e^mu, where mu is linear in the number of tokens.
    """
    if not config.get("use_dynamic_shifting"):
        return config.get("shift", 1.0)
    from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift

    names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    mu = calculate_shift(tokens, *(config[name] for name in names))
    return mu if config.get("time_shift_type") == "linear" else math.exp(mu)


def _everywhere(tokens: Tensor) -> Tensor:
    """A mask that is True for all tokens (B,L,D)."""
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
