"""From a diffusers folder to a pipeline on its device. Imports diffusers when called."""

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from core.errors import UserError
from core.pretrained.hub import located
from video.options import ClipOptions
from video.pretrained.families import Family
from video.pretrained.pipelines import LTX, CogVideoX, ModelScope, PipelineModel, Wan
from video.pretrained.weights import digests, variant, weight_files
from video.record import CheckpointRecord

MODELS: tuple[type[PipelineModel], ...] = (Wan, LTX, CogVideoX, ModelScope)  # named like their families


def load_pipeline(folder: Path, family: Family, options: ClipOptions, device: torch.device) -> PipelineModel:
    """The video model of a folder, as the options ask for it: precision, LoRA, offload, tiling.

    Raises UserError for weights that are missing, damaged or do not fit.
    """
    quieten()
    dtype = precision(options, device)
    name = family.image_pipeline if options.image else family.pipeline
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch_dtype is called dtype from diffusers 0.36 on
        pipeline = _read(name, folder, {"default": dtype, **exact_parts(family)})
    pipeline.set_progress_bar_config(disable=True)
    files = [file for part in weight_files(folder).values() for file in part]
    sha256 = digests(files, folder)
    if options.lora:
        sha256 |= _add_lora(pipeline, options.lora, options.lora_scale)
    pipeline.vae.enable_slicing()
    if options.tiling:
        pipeline.vae.enable_tiling()
    _place(pipeline, options, device)
    record = CheckpointRecord(folder=str(folder), pipeline=name, dtype=_name(dtype), sha256=sha256)
    (kind,) = (kind for kind in MODELS if kind.__name__ == family.title)
    return kind(pipeline, family, device, record)


def precision(options: ClipOptions, device: torch.device) -> torch.dtype:
    """What is asked for, else float32 on a CPU and bfloat16 elsewhere."""
    if options.dtype:
        return getattr(torch, options.dtype)
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def exact_parts(family: Family) -> dict[str, torch.dtype]:
    """The parts that stay in float32: those of Wan lose too much in half precision, its authors say."""
    return {"vae": torch.float32, "image_encoder": torch.float32} if family.title == "Wan" else {}


def quieten() -> None:
    """diffusers and transformers keep their progress bars and advice to themselves; errors still show."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity(logging.ERROR)
        library.disable_progress_bar()


def _read(name: str, folder: Path, dtypes: dict[str, torch.dtype]) -> Any:
    import diffusers

    try:
        return getattr(diffusers, name).from_pretrained(
            folder, torch_dtype=dtypes, variant=variant(folder), use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UserError(f"Cannot load the {name} in {folder}: {reason}.") from error


def _add_lora(pipeline: Any, lora: str, scale: float) -> dict[str, str]:
    """Loads LoRA weights into the pipeline; returns the digests of their files."""
    if find_spec("peft") is None:
        raise UserError("--lora needs the package peft: pip install peft.")
    path = located(lora)
    folder = path if path.is_dir() else path.parent
    files = sorted(folder.glob("*.safetensors")) if path.is_dir() else [path]
    if len(files) != 1 or path.suffix not in ("", ".safetensors"):
        raise UserError(f"--lora {lora} must be one .safetensors file, or a folder with one.")
    try:
        pipeline.load_lora_weights(folder, weight_name=files[0].name, adapter_name="lora")
        pipeline.set_adapters("lora", scale)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UserError(f"--lora {lora} does not fit this model: {reason}.") from error
    return digests(files, folder)


def _place(pipeline: Any, options: ClipOptions, device: torch.device) -> None:
    match options.offload:
        case "model":
            pipeline.enable_model_cpu_offload(device=device)
        case "layers":
            pipeline.enable_sequential_cpu_offload(device=device)
        case None:
            pipeline.to(device)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
