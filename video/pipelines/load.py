"""Loads a diffusers folder as a pipeline on its device. Imports diffusers inside functions only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from core.io.machine import default_dtype
from core.pretrained.lora import add_lora, split_scale, weights_file
from core.pretrained.parts import read_pipeline
from core.pretrained.quiet import quieten
from core.pretrained.weights import digests, sha256
from video.options import ClipOptions
from video.pipelines.acceleration import accelerate
from video.pipelines.families import Family
from video.pipelines.pipelines import LTX, CogVideoX, ModelScope, PipelineModel, Wan
from video.record import CheckpointRecord

MODELS = {"Wan": Wan, "LTX": LTX, "CogVideoX": CogVideoX, "ModelScope": ModelScope}


def load_pipeline(folder: Path, family: Family, options: ClipOptions, device: torch.device) -> PipelineModel:
    """The video model of a folder, with the dtype, LoRA weights, offload and tiling of the options.

    Raises UserError when weights are missing, damaged or do not fit the model.
    """
    quieten()
    dtype = precision(options, device)
    name = family.image_pipeline if options.image else family.pipeline
    pipeline = read_pipeline(folder, {"default": dtype, **exact_parts(family)}, kind=name)
    pipeline.set_progress_bar_config(disable=True)
    for source in options.lora:
        add_lora(pipeline, source)
    pipeline.vae.enable_slicing()
    if options.tiling:
        pipeline.vae.enable_tiling()
    accelerate(pipeline, options, dtype)
    _place(pipeline, options, device)
    record = CheckpointRecord(
        folder=str(folder),
        pipeline=name,
        dtype=str(dtype).removeprefix("torch."),
        sha256=digests(folder) | lora_digests(options.lora),
    )
    return MODELS[family.title](pipeline, family, device, record)


def precision(options: ClipOptions, device: torch.device) -> torch.dtype:
    """The dtype of the options, `default_dtype` of the device if they give none."""
    return getattr(torch, options.dtype) if options.dtype else default_dtype(device)


def exact_parts(family: Family) -> dict[str, torch.dtype]:
    """Parts of the pipeline that stay in float32, as Wan's authors recommend for accuracy."""
    return {"vae": torch.float32, "image_encoder": torch.float32} if family.title == "Wan" else {}


def lora_digests(lora: Sequence[str]) -> dict[str, str]:
    """The sha256 of each LoRA file, keyed by the source as given (NAME or NAME@SCALE)."""
    return {source: sha256(weights_file(split_scale(source)[0])) for source in lora}


def _place(pipeline: Any, options: ClipOptions, device: torch.device) -> None:
    """Moves the pipeline to the device, or installs the offload hooks of the options."""
    match options.offload:
        case "model":
            pipeline.enable_model_cpu_offload(device=device)
        case "group":
            # The autoencoder is small, and its decoder is called past the hooks.
            pipeline.enable_group_offload(
                device, offload_type="block_level", num_blocks_per_group=1, exclude_modules=["vae"]
            )
        case "layers":
            pipeline.enable_sequential_cpu_offload(device=device)
        case None:
            pipeline.to(device)
