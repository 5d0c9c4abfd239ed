"""What diffusers offers to make a checkpoint's network cheaper: caches, storage of weights, attention."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from core.errors import UserError
from core.pretrained.reading import first_line
from video.options import Cache, ClipOptions

NETWORKS = ("transformer", "transformer_2")  # parts of the pipelines of Wan, LTX and CogVideoX
# Residual of the first block, against that of the step before, below which the other blocks are skipped.
FIRST_BLOCK_THRESHOLD = 0.05
PYRAMID_SKIP = 2  # spatial attention is computed in every second step
TAYLOR_INTERVAL, TAYLOR_START = 5, 3  # steps between full computations, and steps before the first skip
# diffusers' own pattern of names is of none of the networks here, and would predict nothing.
PREDICTED = [r"(transformer_)?blocks\.\d+\.(attn\d|ffn?)"]


def accelerate(pipeline: Any, options: ClipOptions, dtype: torch.dtype) -> None:
    """Applies cache, storage and attention of the options to the networks of a diffusers pipeline.

    dtype: in which the networks compute.

    Raises UserError for an attention backend that is unknown, or cannot be used here, and where torchao is
    missing for weights in int8.
    """
    networks = [getattr(pipeline, part, None) for part in NETWORKS]
    for network in filter(None, networks):
        if options.cache:
            network.enable_cache(_cache(options.cache, lambda: pipeline.current_timestep))
        if options.storage == "float8":
            network.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
        elif options.storage == "int8":
            _quantize(network)
        if options.attention:
            _set_attention(network, options.attention)


def _cache(name: Cache, timestep: Callable[[], Any]) -> Any:
    """diffusers' config of a cache. timestep: the pipeline's current one."""
    from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
    from diffusers.hooks.pyramid_attention_broadcast import PyramidAttentionBroadcastConfig
    from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig

    match name:
        case "first-block":  # ParaAttention's
            return FirstBlockCacheConfig(threshold=FIRST_BLOCK_THRESHOLD)
        case "pyramid":  # Zhao et al. 2024, "Real-Time Video Generation with Pyramid Attention Broadcast"
            return PyramidAttentionBroadcastConfig(
                spatial_attention_block_skip_range=PYRAMID_SKIP, current_timestep_callback=timestep
            )
        case "taylorseer":  # Liu et al. 2025, "From Reusing to Forecasting"
            return TaylorSeerCacheConfig(
                cache_interval=TAYLOR_INTERVAL,
                disable_cache_before_step=TAYLOR_START,
                cache_identifiers=PREDICTED,
            )


def _quantize(network: Any) -> None:
    """Stores the matrices of a network as int8 with a scale for each output, by torchao.

    LoRA's stay as they are, and what diffusers keeps in float32.

    Raises UserError where torchao is missing.
    """
    try:
        from torchao.quantization import (  # pyright: ignore[reportMissingImports]
            Int8WeightOnlyConfig,
            quantize_,
        )
    except ImportError as error:
        reason = first_line(error)
        raise UserError(f"--storage int8 needs torchao ({reason}): pip install torchao.") from error
    exact = [*(getattr(network, "_keep_in_fp32_modules", None) or ()), "lora_"]

    def is_matrix(layer: nn.Module, name: str) -> bool:
        return isinstance(layer, nn.Linear) and not any(part in name for part in exact)

    quantize_(network, Int8WeightOnlyConfig(), filter_fn=is_matrix)


def _set_attention(network: Any, name: str) -> None:
    """Makes a network compute attention by a backend of diffusers."""
    from diffusers.models.attention_dispatch import AttentionBackendName

    known = sorted(each.value for each in AttentionBackendName if not each.value.endswith("_hub"))
    if name not in known:
        raise UserError(f"There is no attention backend {name!r}: give one of {', '.join(known)}.")
    try:
        network.set_attention_backend(name)
    except (RuntimeError, ImportError, ValueError) as error:
        raise UserError(f"--attention {name} cannot be used here: {first_line(error)}") from error
