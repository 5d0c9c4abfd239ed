"""Image models from diffusers checkpoints: Stable Diffusion 1.x and 2.x, SDXL, DeepFloyd IF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.io.machine import default_dtype
from core.models.image_model import ImageModel, decode_latents
from core.models.unclip.unclip_model import load_native_model
from core.pretrained import lora as adapters
from core.pretrained.first_stage import KLFirstStage
from core.pretrained.hub import (
    NATIVE,
    checkpoint_kind,
    resolve_checkpoint,
    scheduler_config,
)
from core.pretrained.network import DiffusersUNet
from core.pretrained.parts import read_pipeline
from core.pretrained.sampling import CheckpointSampler
from core.pretrained.text import checkpoint_text_encoder, full_condition
from core.pretrained.weights import check_weights_fit
from core.samplers import noise_like
from core.sampling import StepCallback, make_generators
from core.sampling_options import SamplerName, SamplingOptions

STABLE_DIFFUSION, SDXL, DEEPFLOYD = "StableDiffusionPipeline", "StableDiffusionXLPipeline", "IFPipeline"
LATENT_CONSISTENCY = "LatentConsistencyModelPipeline"  # the parts of Stable Diffusion, and LCM's scheduler


class PretrainedImageModel:
    """A checkpoint as an image model: text encoder, `denoiser`, and `first_stage` for latent models.

    denoiser: used by distillation and video; its x0 is not clipped.
    sampling: sampler with the checkpoint's own schedule and timesteps.
    """

    reads_attributes = False
    weak: Denoiser | None = None

    def __init__(self, pipeline: Any, device: torch.device, offload: bool = False) -> None:
        """pipeline: a diffusers pipeline of one of the classes above, on the CPU.

        offload: keep the weights of text encoders and network in CPU memory; each is on the device only while
            it runs.

        Raises UserError for checkpoints of these classes that are not text-to-image models, and for
        schedulers that `CheckpointSampler` does not support.
        """
        self.pipeline, self.device = pipeline, device
        self.name = type(pipeline).__name__
        pixels = self.name == DEEPFLOYD
        self.first_stage = None if pixels else KLFirstStage(pipeline.vae, device)
        self.sampling = self._sampling(pixels)
        unet = pipeline.unet
        channels = self.first_stage.channels if self.first_stage else 3
        check_network(unet.config, channels, self.sampling)
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
        self.reads_guidance = unet.config.time_cond_proj_dim is not None
        self.text = checkpoint_text_encoder(pipeline, device)
        self._offloaded = self._place(offload)

    def _sampling(self, pixels: bool) -> CheckpointSampler:
        """The sampler of the checkpoint's scheduler; ancestral for pixel models."""
        config = dict(self.pipeline.scheduler.config)
        config["_class_name"] = type(self.pipeline.scheduler).__name__
        return CheckpointSampler.from_config(config, ancestral=pixels)

    def _place(self, offload: bool) -> Any:
        """Moves the parts to the device or installs offload hooks; returns the network's hook, if any.

        The first stage is small and always on the device, because distillation needs it with the network.
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

    @property
    def default_steps(self) -> int:
        """Sampling steps: few of a distilled checkpoint."""
        return 4 if self.sampling.distilled else 30

    @property
    def default_guidance(self) -> float:
        """Guidance scale: none of a distilled checkpoint, unless its network reads it."""
        return 1.0 if self.sampling.distilled and not self.reads_guidance else 7.5

    def check_guidance(self, scale: float, negative: str) -> None:
        """Raises UserError for a negative prompt where the network itself applies the scale.

        All other models were trained with text dropout, and take every scale.
        """
        if negative and self.reads_guidance:
            raise UserError(
                "This checkpoint's network reads the guidance scale, so that there is nothing to guide away "
                "from: leave out the negative prompt."
            )

    def read(self, prompt: str, suffix: str = "") -> str:
        """The part of a prompt that the text encoder takes, if a suffix is to follow it."""
        return self.text.read(prompt, suffix)

    def encode(self, prompts: Sequence[str], attributes: Tensor | None = None) -> Condition:
        """Condition of B prompts. attributes: stored in it, but not an input of these networks."""
        condition = full_condition(self.text(prompts))
        if attributes is None:
            return condition
        return replace(condition, attributes=attributes.to(condition.tokens))

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
        """Images (B,3,size,size) in [-1, 1] of B prompts, at the timesteps of the checkpoint's scheduler.

        guidance: guidance scale; 1 disables guidance, as turbo models require. Latent consistency models
            read it.
        sampler: by default the checkpoint's own. The rest is as in `ImageModel.sample`.
        """
        options = SamplingOptions(steps, guidance, sampler, eta, guidance_interval, guidance_rescale)
        denoiser = self.denoiser
        if self.reads_guidance:
            self.check_guidance(guidance, negative)
            if guidance_interval or guidance_rescale:
                raise UserError(
                    "A guidance interval or rescale cannot be applied to a network that reads the scale."
                )
            options = replace(options, guidance_scale=1.0)
            network = denoiser.network
            assert isinstance(network, DiffusersUNet)
            denoiser = denoiser.with_network(network.with_guidance(guidance))
        generators = make_generators(prompts, seeds)
        noise = noise_like((len(prompts), *self.shape), generators).to(self.device)
        condition, unconditional = self.encode(prompts), self.encode([negative])
        x = self.sampling.sample(
            denoiser, noise, condition, unconditional, options, generators, on_step=on_step
        )
        return self.decode(x)

    def decode(self, x: Tensor) -> Tensor:
        """Images (B,3,H,W) in [-1, 1] decoded from denoised x (B,C,h,w), without gradient."""
        if self._offloaded:
            self._offloaded.offload()
        return decode_latents(x, self.first_stage)

    def save_pretrained(self, folder: Path) -> None:
        """Writes the checkpoint in diffusers' layout, with safetensors weights."""
        self.pipeline.save_pretrained(folder, safe_serialization=True)


def check_unguided(config: Mapping[str, Any]) -> None:
    """Raises UserError for a network, by its config, that reads its guidance scale: it can only draw."""
    if config.get("time_cond_proj_dim") is not None:
        raise UserError(
            "The checkpoint was distilled with its guidance scale as an input, so that it can only draw "
            "images: give the checkpoint that it was made from."
        )


def check_network(config: Mapping[str, Any], channels: int, sampling: CheckpointSampler) -> None:
    """Raises UserError unless a U-Net is conditioned on text, timestep, sizes and guidance scale only.

    config: of the U-Net. channels: of the latents, or of pixels. sampling: of the checkpoint's scheduler.
    """
    inputs, outputs = config.get("in_channels", 4), config.get("out_channels", 4)
    if inputs != channels:
        raise UserError(
            f"The checkpoint's network takes {inputs} channels, not {channels}, so it is not "
            "a text-to-image model (perhaps inpainting or upscaling): give a text-to-image checkpoint."
        )
    if config.get("class_embed_type") is not None:
        raise UserError(
            "The checkpoint's network is conditioned on more than text (it has classes): give one that is "
            "conditioned on text."
        )
    learned = outputs == 2 * channels
    if outputs != channels and not learned:
        raise UserError(
            f"The checkpoint's network has {outputs} output channels, not {channels} or "
            f"{2 * channels}: give another checkpoint."
        )
    if sampling.variance == "learned" and not learned:
        raise UserError(
            "The checkpoint's scheduler does not match its network: the scheduler uses a learned "
            "variance, and the network predicts none. Set variance_type in "
            "scheduler_config.json to fixed_small."
        )


def load_image_model(
    name_or_folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    lora: Sequence[str] = (),
    offload: bool = False,
    slicing: bool = False,
) -> ImageModel | PretrainedImageModel:
    """Loads an image model from a folder or Hugging Face id: this project's format or a diffusers checkpoint.

    dtype: of a checkpoint's weights; by default `default_dtype` of the device.
    lora: sources for `core.pretrained.lora.add_lora`, each added to the weights.
    offload: see `PretrainedImageModel`.
    slicing: computes attention in slices and recomputes the first stage's activations in the backward pass:
        less memory, more time.

    Raises UserError when nothing is found, when it is not a supported image model, or when an option applies
    to checkpoints only.
    """
    folder = resolve_checkpoint(name_or_folder)
    kind = checkpoint_kind(folder)
    if kind == NATIVE:
        if lora or offload or slicing or dtype not in (None, torch.float32):
            raise UserError(
                "Models in Dreamlift's own format take no LoRA weights, dtype, offload or slicing: "
                "omit these options."
            )
        return load_native_model(folder, device)
    if kind not in (STABLE_DIFFUSION, SDXL, LATENT_CONSISTENCY, DEEPFLOYD):
        raise UserError(
            f"{name_or_folder} has the class {kind}, which is not supported: give an image model of class "
            f"{STABLE_DIFFUSION}, {SDXL}, {LATENT_CONSISTENCY} or {DEEPFLOYD}."
        )
    CheckpointSampler.from_config(scheduler_config(folder))  # raises its errors before gigabytes are read
    device = torch.device(device)
    dtype = dtype or default_dtype(device)
    check_weights_fit(folder, dtype.itemsize)
    pipeline = _pipeline(folder, dtype)
    for source in lora:
        adapters.add_lora(pipeline, source)
    if slicing:
        pipeline.unet.set_attention_slice("auto")
        if kind != DEEPFLOYD:
            pipeline.vae.enable_gradient_checkpointing()
    return PretrainedImageModel(pipeline, device, offload)


def _pipeline(folder: Path, dtype: torch.dtype) -> Any:
    """diffusers' pipeline of a folder, on the CPU. Raises UserError when it cannot be loaded."""
    pipeline = read_pipeline(folder, dtype)
    if dtype == torch.float16 and getattr(getattr(pipeline, "vae", None), "config", {}).get("force_upcast"):
        pipeline.vae.float()  # overflows in half precision
    return pipeline
