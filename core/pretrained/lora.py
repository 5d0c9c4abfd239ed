"""LoRA weights: added to the weights of a checkpoint, trained, and written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from core.errors import UserError
from core.io.atomic import atomic_write, writable_folder
from core.pretrained.hub import first_line, resolve_checkpoint
from core.pretrained.quiet import quiet

LORA_WEIGHTS = "pytorch_lora_weights.safetensors"  # the name that diffusers gives them


def add_lora(pipeline: Any, source: str) -> None:
    """Adds W <- W + scale B A (Hu et al. 2021) to the weights of network and text encoders.

    source: a Hugging Face id, a folder with one safetensors file, or a file; optionally with a scale, as in
        "NAME@0.7".

    Raises UserError when nothing is found, when it does not fit the checkpoint, or without peft installed.
    """
    name, scale = split_scale(source)
    check_peft()
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


def check_peft() -> None:
    """Raises UserError unless peft is installed."""
    if find_spec("peft") is None:
        raise UserError("LoRA weights need the package peft: pip install peft")


def add_trainable_lora(network: Any, rank: int, modules: Sequence[str]) -> None:
    """Adds A and B to linear layers of a network of diffusers; they alone require a gradient, in float32.

    A is random by torch's global generator and B is zero, so that the output does not change.

    modules: ends of the names of the layers. Raises UserError when the network has none of them.
    """
    check_peft()
    from peft import LoraConfig

    network.requires_grad_(False)
    try:
        network.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(modules)))
    except ValueError as error:
        raise UserError(
            f"The network has no linear layers whose names end in {', '.join(modules)}: change modules in "
            "the preset."
        ) from error
    for weight in network.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def save_lora(folder: Path, pipeline: str, weights: Mapping[str, Tensor]) -> None:
    """Writes LoRA weights into a folder, as diffusers' `load_lora_weights` and `add_lora` read them.

    pipeline: its class in diffusers. weights: A and B of the layers, under the names that
        `add_trainable_lora` gives them, after "unet." or "transformer.".

    Raises UserError when the folder cannot be written.
    """
    import diffusers

    parts: dict[str, dict[str, Tensor]] = {}
    for name, weight in weights.items():
        part, _, layer = name.partition(".")
        parts.setdefault(part, {})[layer.replace(".default.", ".")] = weight
    writable_folder(folder)
    with atomic_write(folder / LORA_WEIGHTS) as draft:
        layers = {f"{part}_lora_layers": of_part for part, of_part in parts.items()}
        with quiet():
            getattr(diffusers, pipeline).save_lora_weights(draft.parent, weight_name=draft.name, **layers)


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
    """Name and scale of NAME or NAME@SCALE; the default scale is 1.

    Text after the last @ that is no number belongs to the name. Raises UserError for a scale that is not
    finite.
    """
    name, _, text = source.rpartition("@")
    try:
        scale = float(text)
    except ValueError:
        return source, 1.0
    if not math.isfinite(scale):
        raise UserError(f"The scale of the LoRA weights {name} cannot be {text}: give a finite number.")
    return name, scale
