"""LoRA weights, added to the weights of a checkpoint."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.pretrained.hub import first_line, resolve_checkpoint
from core.pretrained.quiet import quiet


def add_lora(pipeline: Any, source: str) -> None:
    """Adds W <- W + scale B A (Hu et al. 2021) to the weights of network and text encoders.

    source: a Hugging Face id, a folder with one safetensors file, or a file; optionally with a scale, as in
        "NAME@0.7".

    Raises UserError when nothing is found, when it does not fit the checkpoint, or without peft installed.
    """
    name, scale = split_scale(source)
    if find_spec("peft") is None:
        raise UserError("LoRA weights need the package peft: pip install peft")
    file = weights_file(name)
    try:
        with quiet():
            pipeline.load_lora_weights(file.parent, weight_name=file.name, local_files_only=True)
            fitting = pipeline.get_active_adapters()
            if fitting:
                pipeline.fuse_lora(lora_scale=scale)
                pipeline.unload_lora_weights()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"The LoRA weights {name} do not fit this checkpoint: {first_line(error)}. Give a LoRA that was "
            "trained for this model."
        ) from error
    if not fitting:
        raise UserError(
            f"The LoRA weights {name} do not fit this checkpoint: none of them is for its network. Give a "
            "LoRA that was trained for this model."
        )


def weights_file(name: str) -> Path:
    """The safetensors file of a Hugging Face id, folder or file. Raises UserError unless there is one."""
    path = resolve_checkpoint(name)
    if path.is_file():
        return path
    files = sorted(path.glob("*.safetensors"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise UserError(
            f"{name} must contain one safetensors file, and it contains {names}: give the path of a file."
        )
    return files[0]


def split_scale(source: str) -> tuple[str, float]:
    """Name and scale of NAME or NAME@SCALE; the default scale is 1. Raises UserError for other text."""
    name, _, scale = source.rpartition("@") if "@" in source else (source, "", "1")
    try:
        return name, float(scale)
    except ValueError as error:
        raise UserError(f"--lora takes NAME or NAME@SCALE, not {source!r}.") from error
