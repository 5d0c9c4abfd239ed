"""Checkpoints of diffusers as image models: Stable Diffusion 1.x and 2.x, SDXL, DeepFloyd IF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.attributes import encode_attributes
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.io.machine import default_dtype
from core.models.image_model import ImageModel, decode_latents
from core.pretrained import lora as adapters
from core.pretrained.first_stage import KLFirstStage
from core.pretrained.hub import (
    NATIVE,
    UNUSED,
    checkpoint_kind,
    component_names,
    first_line,
    resolve_checkpoint,
    scheduler_config,
)
from core.pretrained.network import DiffusersUNet
from core.pretrained.quiet import quiet
from core.pretrained.sampling import CheckpointSampler
from core.pretrained.text import CheckpointTextEncoder, CLIPTextEncoder, DualCLIPTextEncoder, T5TextEncoder
from core.samplers import noise_like
from core.sampling import StepCallback, make_generators
from core.sampling_options import SamplerName, SamplingOptions

STABLE_DIFFUSION, SDXL, DEEPFLOYD = "StableDiffusionPipeline", "StableDiffusionXLPipeline", "IFPipeline"


class PretrainedImageModel:
    """A checkpoint as an image model: text encoder, `denoiser`, and `first_stage` where it has latents.

    denoiser: what distillation and video build on; never clipped. sampling: how its publisher samples.
    """

    reads_attributes = False

    def __init__(self, pipeline: Any, device: torch.device, offload: bool = False) -> None:
        """pipeline: of diffusers, of one of the three classes above, on the CPU.

        offload: the weights stay in the CPU's memory, and those of the text encoders or of the network are on
            the device only while they are at work.

        Raises UserError for checkpoints of these classes that are no plain text-to-image model, and for
        schedulers that `Sampling` does not know.
        """
        self.pipeline, self.device = pipeline, device
        self.name = type(pipeline).__name__
        pixels = self.name == DEEPFLOYD
        self.first_stage = None if pixels else KLFirstStage(pipeline.vae, device)
        self.sampling = self._sampling(pixels)
        unet = pipeline.unet
        channels = self.first_stage.channels if self.first_stage else 3
        self._check(unet, channels)
        downscale = self.first_stage.downscale if self.first_stage else 1
        self.denoiser = Denoiser(
            DiffusersUNet(unet, downscale),
            self.sampling.schedule,
            self.sampling.parameterization,
            learned_variance=unet.config.out_channels == 2 * channels,
        )
        self.denoiser.eval().requires_grad_(False)
        side = unet.config.sample_size
        self.shape = (channels, side, side)
        self.size = side * downscale
        self.text = self._text_encoding()
        self._offloaded = self._place(offload)

    def _sampling(self, pixels: bool) -> CheckpointSampler:
        config = dict(self.pipeline.scheduler.config)
        config["_class_name"] = type(self.pipeline.scheduler).__name__
        return CheckpointSampler.from_config(config, ancestral=pixels)

    def _check(self, unet: Any, channels: int) -> None:
        """Raises UserError unless the network is told of text, time and sizes alone."""
        config = unet.config
        if config.in_channels != channels:
            raise UserError(
                f"The checkpoint's network takes {config.in_channels} channels, not {channels}: it is not "
                "for text alone, but perhaps for inpainting or upscaling."
            )
        if config.time_cond_proj_dim is not None or config.class_embed_type is not None:
            raise UserError(
                "The checkpoint's network is told more than text (it is distilled or takes classes): give "
                "the checkpoint that it was made from."
            )
        learned = config.out_channels == 2 * channels
        if config.out_channels != channels and not learned:
            raise UserError(f"The network puts out {config.out_channels} channels for {channels}.")
        if self.sampling.variance == "learned" and not learned:
            raise UserError(
                "The checkpoint's scheduler does not match its network: it samples with a learned variance, "
                "and the network puts out none."
            )

    def _text_encoding(self) -> CheckpointTextEncoder:
        p = self.pipeline
        match self.name:
            case "StableDiffusionXLPipeline":
                zeros = bool(p.config.get("force_zeros_for_empty_prompt", True))
                return DualCLIPTextEncoder(
                    (p.tokenizer, p.tokenizer_2), (p.text_encoder, p.text_encoder_2), self.device, zeros
                )
            case "IFPipeline":
                return T5TextEncoder(p.tokenizer, p.text_encoder, self.device)
            case _:
                return CLIPTextEncoder(p.tokenizer, p.text_encoder, self.device)

    def _place(self, offload: bool) -> Any:
        """Puts everything where it works; the hook that takes the network off again, if there is one.

        The first stage is small and always on the device: distillation needs it beside the network.
        """
        if self.first_stage:
            self.pipeline.vae.to(self.device)
        heavy = [getattr(self.pipeline, part, None) for part in ("text_encoder", "text_encoder_2", "unet")]
        heavy = [module for module in heavy if module is not None]
        if not offload:
            for module in heavy:
                module.to(self.device)
            return None
        from accelerate import cpu_offload_with_hook

        hook = None
        for module in heavy:
            _, hook = cpu_offload_with_hook(module, self.device, prev_module_hook=hook)
        return hook

    def check_guidance(self, scale: float, negative: str) -> None:
        """Nothing to refuse: these models were all trained with text dropped too."""

    def encode(self, prompts: Sequence[str], attributes: Tensor | None = None) -> Condition:
        """The condition of B prompts. said: attributes, of which the network is told nothing."""
        tokens, pooled = self.text(prompts)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        attributes = encode_attributes(len(prompts)) if attributes is None else attributes
        return Condition(tokens, mask, attributes.to(tokens), pooled)

    def sample(
        self,
        prompts: Sequence[str],
        *,
        steps: int = 30,
        guidance: float = 7.5,
        negative: str = "",
        seeds: Sequence[int] | None = None,
        sampler: SamplerName | None = None,
        eta: float = 0.0,
        guidance_interval: tuple[float, float] | None = None,
        guidance_rescale: float = 0.0,
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """Images (B,3,size,size) in [-1, 1] of B prompts, along the timesteps of the checkpoint's scheduler.

        guidance: the guidance scale; 1, no guidance, is what turbo models take.
        sampler: the checkpoint's own unless given. The rest is as in `ImageModel.sample`.
        """
        options = SamplingOptions(steps, guidance, sampler, eta, guidance_interval, guidance_rescale)
        generators = make_generators(prompts, seeds)
        noise = noise_like((len(prompts), *self.shape), generators).to(self.device)
        condition, away = self.encode(prompts), self.encode([negative])
        x = self.sampling.sample(self.denoiser, noise, condition, away, options, generators, on_step=on_step)
        return self.decode(x)

    def decode(self, x: Tensor) -> Tensor:
        """Images (B,3,H,W) in [-1, 1] of denoised x (B,C,h,w); without gradient."""
        if self._offloaded:
            self._offloaded.offload()
        return decode_latents(x, self.first_stage)

    def save_pretrained(self, folder: Path) -> None:
        """Writes the checkpoint in diffusers' layout, safetensors only."""
        self.pipeline.save_pretrained(folder, safe_serialization=True)


def load_image_model(
    name_or_folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    lora: Sequence[str] = (),
    offload: bool = False,
    slicing: bool = False,
) -> ImageModel | PretrainedImageModel:
    """The image model of a local folder or of an id of the hub: our own format, or a checkpoint of diffusers.

    dtype: of a checkpoint's weights; see `usual_dtype` for what it is unless given.
    lora: what `core.pretrained.lora.add` takes, each added to the weights.
    offload: see `PretrainedImageModel`. slicing: attention in slices, and the first stage's activations
        calculated again for gradients: less memory, more time.

    Raises UserError where nothing is there, or it is no image model that is known here, or an option is for
    checkpoints alone.
    """
    folder = resolve_checkpoint(name_or_folder)
    found = checkpoint_kind(folder)
    if found == NATIVE:
        if lora or offload or slicing or dtype not in (None, torch.float32):
            raise UserError(
                "Models of our own format take no LoRA weights, no other dtype, no offload and no slicing."
            )
        return ImageModel.load(folder, device)
    if found not in (STABLE_DIFFUSION, SDXL, DEEPFLOYD):
        raise UserError(
            f"{name_or_folder} is a {found}; image models are {STABLE_DIFFUSION}, {SDXL} and {DEEPFLOYD}."
        )
    CheckpointSampler.from_config(scheduler_config(folder))  # refused here, before gigabytes are read
    device = torch.device(device)
    pipeline = _pipeline(folder, dtype or default_dtype(device))
    for each in lora:
        adapters.add_lora(pipeline, each)
    if slicing:
        pipeline.unet.set_attention_slice("auto")
        if found != DEEPFLOYD:
            pipeline.vae.enable_gradient_checkpointing()
    return PretrainedImageModel(pipeline, device, offload)


def _pipeline(folder: Path, dtype: torch.dtype) -> Any:
    """diffusers' pipeline of a folder, on the CPU. Raises UserError where its files do not make one."""
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    # Left out by name: else the pipeline would ask why a part that its index names is missing.
    unused = {part: None for part in UNUSED if part in component_names(folder)}
    try:
        with quiet():
            pipeline = DiffusionPipeline.from_pretrained(
                folder, torch_dtype=dtype, local_files_only=True, use_safetensors=True, **unused
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"The checkpoint {folder} cannot be read: {first_line(error)}.") from error
    if dtype == torch.float16 and getattr(getattr(pipeline, "vae", None), "config", {}).get("force_upcast"):
        pipeline.vae.float()  # overflows in half precision
    return pipeline
