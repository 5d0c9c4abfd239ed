"""Checkpoints with random weights for benchmarks: Stable Diffusion 1.5's architecture, full-size or tiny."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from core.pretrained.quiet import quiet

diffusers: Any = import_module("diffusers")  # imports its names lazily; type checkers cannot see them

CHARACTERS = "abcdefghijklmnopqrstuvwxyz"


@quiet()
def stable_diffusion(folder: Path, tiny: bool = False) -> Path:
    """Writes a Stable Diffusion folder in float16 unless it is there; full-size 2.1 GB."""
    if folder.exists():
        return folder
    torch.manual_seed(0)
    width = 32 if tiny else 768  # of the text encoder
    tokenizer = _tokenizer()
    text: dict[str, Any] = {
        "vocab_size": 49408,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": 1 if tiny else 12,
        "num_attention_heads": 2 if tiny else 12,
        "projection_dim": width,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vae: dict[str, Any] = {
        "block_out_channels": (32,) * 4 if tiny else (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 512,
    }
    unet: dict[str, Any] = {
        "sample_size": 8 if tiny else 64,
        "block_out_channels": _widths(tiny),
        "cross_attention_dim": width,
        "attention_head_dim": 8,
    }
    schedule: dict[str, Any] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
    parts: dict[str, Any] = {
        "vae": diffusers.AutoencoderKL(**vae),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**text)),
        "tokenizer": tokenizer,
        "unet": diffusers.UNet2DConditionModel(**unet),
        "scheduler": diffusers.DDIMScheduler(**schedule),
        "safety_checker": None,
        "feature_extractor": None,
    }
    pipeline = diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.to(dtype=torch.float16).save_pretrained(folder)
    return folder


@quiet()
def motion_adapter(folder: Path, tiny: bool = False) -> Path:
    """Writes an AnimateDiff v2 motion adapter in float16 unless it is there; full-size 0.9 GB."""
    if folder.exists():
        return folder
    torch.manual_seed(1)
    diffusers.MotionAdapter(block_out_channels=_widths(tiny)).half().save_pretrained(folder)
    return folder


def _widths(tiny: bool) -> tuple[int, ...]:
    """Channels of the U-Net's levels."""
    return (32,) * 4 if tiny else (320, 640, 1280, 1280)


def _tokenizer() -> CLIPTokenizer:
    """A tokenizer of single letters: only the padded length of the prompt matters for a benchmark."""
    words = [letter + end for end in ("", "</w>") for letter in CHARACTERS]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], pad_token="<|endoftext|>", model_max_length=77)
