"""Parts of diffusers checkpoints, loaded one after another: encoders of training data, and the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.pretrained.first_stage import KLFirstStage
from core.pretrained.hub import component_config, scheduler_config
from core.pretrained.image_model import check_network, check_unguided
from core.pretrained.network import DiffusersUNet
from core.pretrained.parts import read_pipeline
from core.pretrained.sampling import CheckpointSampler
from core.pretrained.text import checkpoint_text_encoder, full_condition
from core.pretrained.weights import fingerprint

TEXT_PARTS = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")


class TrainableCheckpoint(Protocol):
    """A checkpoint that an adapter can be trained for. Nothing of it is in memory but what was loaded.

    flow: whether the network predicts the velocity of a rectified flow.
    """

    flow: bool

    def check(self, width: int, height: int, frames: int) -> None:
        """Raises UserError for pictures or clips that the network does not take. Sizes in pixels."""
        ...

    def text_key(self) -> str:
        """A name of the text encoder, by its weights."""
        ...

    def load_text_encoder(
        self, device: torch.device, dtype: torch.dtype
    ) -> Callable[[Sequence[str]], Condition]:
        """The text encoder: prompts to conditions."""
        ...

    def latents_key(self) -> str:
        """A name of the first stage, by its weights."""
        ...

    def load_first_stage(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """The first stage, in float32: stored latents of examples in [-1, 1].

        Of pictures (N,3,H,W) they are (N,C,h,w), and of clips (N,3,F,H,W) they are (N,C,F',h,w).
        """
        ...

    def load_denoiser(self, device: torch.device, dtype: torch.dtype, shape: Sequence[int]) -> Denoiser:
        """The frozen network on its device. shape: of the latents of an example, (C,h,w) or (C,F',h,w)."""
        ...


class TrainableImageModel:
    """A checkpoint of Stable Diffusion 1.x, 2.x or SDXL."""

    flow = False

    def __init__(self, folder: Path, recompute: bool = True) -> None:
        """folder: of a diffusers pipeline; its configs suffice at first.

        recompute: activations in the backward pass (gradient checkpointing).

        Raises UserError for a network or a scheduler that is not supported.
        """
        self.folder, self.recompute = folder, recompute
        self.sampling = CheckpointSampler.from_config(scheduler_config(folder))
        network, autoencoder = component_config(folder, "unet"), component_config(folder, "vae")
        check_unguided(network)
        check_network(network, autoencoder.get("latent_channels", 4), self.sampling)
        self.downscale = 2 ** (len(autoencoder.get("block_out_channels", range(4))) - 1)
        self.side = network.get("sample_size", 64) * self.downscale  # px, of its own training

    def check(self, width: int, height: int, frames: int) -> None:
        """Raises UserError for sizes that are no multiple of the first stage's."""
        for name, value in (("width", width), ("height", height)):
            if value % self.downscale:
                raise UserError(
                    f"The {name} of the preset must be a multiple of {self.downscale}, not {value}."
                )

    def text_key(self) -> str:
        """A name of the text encoders, by their weights."""
        return fingerprint(self.folder, TEXT_PARTS)

    def load_text_encoder(
        self, device: torch.device, dtype: torch.dtype
    ) -> Callable[[Sequence[str]], Condition]:
        """The CLIP encoders: conditions of prompts."""
        pipeline = load_parts(self.folder, TEXT_PARTS, dtype)
        for encoder in (pipeline.text_encoder, getattr(pipeline, "text_encoder_2", None)):
            if encoder is not None:
                encoder.to(device)
        encode = checkpoint_text_encoder(pipeline, device)
        return lambda prompts: full_condition(encode(prompts))

    def latents_key(self) -> str:
        """A name of the autoencoder, by its weights."""
        return fingerprint(self.folder, ["vae"])

    def load_first_stage(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """The autoencoder in float32: latents (N,C,h,w) of pictures (N,3,H,W)."""
        vae = load_parts(self.folder, ["vae"], torch.float32).vae
        return KLFirstStage(vae.to(device), device).to_latents

    def load_denoiser(self, device: torch.device, dtype: torch.dtype, shape: Sequence[int]) -> Denoiser:
        """The U-Net with the checkpoint's own schedule and parameterization, frozen."""
        unet = load_parts(self.folder, ["unet"], dtype).unet.to(device)
        if self.recompute:
            unet.enable_gradient_checkpointing()
        network = DiffusersUNet(unet, self.downscale)
        denoiser = Denoiser(network, self.sampling.schedule, self.sampling.parameterization)
        return denoiser.requires_grad_(False)


def load_parts(folder: Path, parts: Sequence[str], dtype: torch.dtype) -> Any:
    """diffusers' pipeline of a folder with some of its parts, and None for the others; on the CPU.

    Raises UserError when a part cannot be loaded.
    """
    return read_pipeline(folder, dtype, only=parts)
