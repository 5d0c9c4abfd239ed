"""LoRA weights of the hub, added to a checkpoint's own."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.pretrained.hub import first_line, resolve_checkpoint
from core.pretrained.quiet import quiet


def add_lora(pipeline: Any, source: str) -> None:
    """Adds W <- W + scale B A (Hu et al. 2021) to the network and the text encoders, for good.

    source: an id of the hub, a folder with one safetensors file, or a file; and a scale perhaps: "NAME@0.7".

    Raises UserError where nothing is found, it does not fit the checkpoint, or peft is not installed.
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
            f"The LoRA weights {name} do not fit this checkpoint: {first_line(error)}."
        ) from error
    if not fitting:
        raise UserError(
            f"The LoRA weights {name} do not fit this checkpoint: none of them is for its network."
        )


def weights_file(name: str) -> Path:
    """The one safetensors file of an id, a folder, or that file. Raises UserError where there is not one."""
    place = resolve_checkpoint(name)
    if place.is_file():
        return place
    files = sorted(place.glob("*.safetensors"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise UserError(
            f"{name} must hold one file of safetensors, and there is {found}: give a file's path."
        )
    return files[0]


def split_scale(source: str) -> tuple[str, float]:
    """NAME or NAME@SCALE as both. Raises UserError where the scale is no number."""
    name, _, said = source.rpartition("@") if "@" in source else (source, "", "1")
    try:
        return name, float(said)
    except ValueError as error:
        raise UserError(f"--lora takes NAME or NAME@SCALE, not {source!r}.") from error
