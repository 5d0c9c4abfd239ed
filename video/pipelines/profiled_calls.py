"""The network calls of a clip, made on fake tensors to measure their cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.pretrained.first_stage import PIXELS_AT_ONCE
from core.pretrained.quiet import quieten
from video.options import ClipOptions
from video.pipelines.cost import Cost, measure_cost
from video.pipelines.families import CLIP_TOKENS, TOKENS, Family

TRAINED_FRAMES = 16  # frames of AnimateDiff's training, the length of its windows
CHUNK = 3  # latent frames after which a decoder that runs frame by frame reaches its peak memory


def profile_denoising(folder: Path, family: Family, options: ClipOptions, dtype: torch.dtype) -> Cost:
    """Cost of all denoising steps of a clip: memory of one call, arithmetic of all of them."""
    part = "unet" if (folder / "unet").is_dir() else "transformer"
    frames, height, width = latent_shape(family, options)
    guided = options.guidance > 1

    def call(network: Any) -> object:
        config = network.config
        text = torch.empty(1 + guided, TOKENS.get(family.title, CLIP_TOKENS), _text_width(config))
        x = torch.empty(1 + guided, config.in_channels, frames, height, width)
        t = torch.ones(1 + guided)
        match family.title:
            case "Wan":  # evaluates the two branches of the guidance one after the other
                image = torch.empty(1, 257, config.image_dim) if config.image_dim else None
                return network(x[:1], t[:1], text[:1], encoder_hidden_states_image=image)
            case "LTX":
                tokens = x.flatten(2).transpose(1, 2)
                mask = torch.ones(text.shape[:2], dtype=torch.bool)
                return network(tokens, text, t, mask, frames, height, width, (8 / 25, 32, 32))
            case "CogVideoX":
                depth = config.patch_size_t or 1  # 1.5 pads the frames to whole tokens
                x = x[:, :, :1].expand(-1, -1, -(-frames // depth) * depth, -1, -1)
                rows = x.shape[2] // depth * height * width // config.patch_size**2
                angles = torch.empty(rows, config.attention_head_dim)
                rotary = (angles, angles) if config.use_rotary_positional_embeddings else None
                shift = torch.ones(1) if config.ofs_embed_dim else None
                x = x.transpose(1, 2)
                return network(x, text, t, ofs=shift, image_rotary_emb=rotary)
            case "AnimateDiff":
                return _animate(
                    network, x[:, :, :TRAINED_FRAMES], t, text, backward=options.image is not None
                )
            case _:
                return network(x, t, text)

    once = measure_cost(_maker(folder / part), call, dtype)
    windows = max(1.0, frames / TRAINED_FRAMES) if family.title == "AnimateDiff" else 1
    calls = options.steps * (1 + guided if family.title == "Wan" else 1)
    return Cost(once.memory, once.flop * calls * windows)


def profile_decoding(folder: Path, family: Family, options: ClipOptions, dtype: torch.dtype) -> Cost:
    """Cost of decoding a clip in its slices and tiles: memory of one slice, arithmetic of all of them."""
    frames, height, width = latent_shape(family, options)
    # LTX decodes the clip at once and image models a few frames at a time; the others go frame by frame.
    pixels = height * width * family.spatial**2
    images = {"ModelScope": 1, "AnimateDiff": max(1, PIXELS_AT_ONCE // pixels)}.get(family.title, CHUNK)
    share = frames if family.title == "LTX" else min(frames, images)

    def call(autoencoder: Any) -> object:
        if options.tiling:
            autoencoder.enable_tiling()
        channels = autoencoder.config.get("z_dim") or autoencoder.config.latent_channels
        as_images = family.stride == 1
        shape = (share, channels, height, width) if as_images else (1, channels, share, height, width)
        if family.title == "LTX" and autoencoder.config.timestep_conditioning:
            return autoencoder.decode(torch.empty(shape), torch.zeros(1))
        return autoencoder.decode(torch.empty(shape))

    once = measure_cost(_maker(folder / "vae"), call, dtype)
    clip = 3 * options.frames * pixels * dtype.itemsize
    return Cost(
        once.memory + 2 * clip, once.flop * frames / share
    )  # twice, because decoded chunks are concatenated


def latent_shape(family: Family, options: ClipOptions) -> tuple[int, int, int]:
    """Frames, height and width of the clip's latents (F,h,w)."""
    width, height = family.resolution(options)
    return (
        (options.frames - 1) // family.stride + 1,
        height // family.spatial,
        width // family.spatial,
    )


def _animate(network: Any, x: Tensor, t: Tensor, text: Tensor, backward: bool) -> object:
    """Runs the image network on the frames of a window; the motion layers are left out, as they add little.

    backward: also runs the backward pass, as reconstruction guidance does.
    """
    frames = x.shape[2]
    x = x.transpose(1, 2).flatten(0, 1).requires_grad_(backward)
    config, added = network.config, None
    if config.addition_embed_type == "text_time":
        width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        added = {"text_embeds": torch.empty(len(x), width), "time_ids": torch.empty(len(x), 6)}
    with torch.set_grad_enabled(backward):
        t, text = t.repeat_interleave(frames), text.repeat_interleave(frames, 0)
        output = network(x, t, text, added_cond_kwargs=added).sample
        return output.sum().backward() if backward else output


def _text_width(config: Any) -> int:
    """Width of the text encoder's states, by the config of the network."""
    names = ("text_dim", "caption_channels", "text_embed_dim", "cross_attention_dim")
    return next(config[name] for name in names if name in config)


def _maker(part: Path) -> Callable[[], nn.Module]:
    """A function that makes the network of a part's config.json, with arbitrary weights."""
    quieten()  # before the first import of diffusers, which imports torchao where it is installed
    import diffusers

    config = json.loads((part / "config.json").read_text(encoding="utf-8"))
    return lambda: getattr(diffusers, config["_class_name"]).from_config(config)
