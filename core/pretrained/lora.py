"""LoRA weights: added to the weights of a checkpoint, trained, and written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from core.errors import UserError
from core.io.atomic import writable_folder
from core.io.weights import write_tensors
from core.pretrained.hub import first_line, resolve_checkpoint
from core.pretrained.quiet import quiet

# Marks in the names of tensors that are added to weights by other formulas.
OTHER_KINDS = {
    "dora_scale": "DoRA",
    "hada_": "LoHa",
    "lokr_": "LoKr",
}
# Ends of the names of a layer's tensors, as in peft, in diffusers, and in kohya's scripts.
_TENSOR = re.compile(
    r"[._]lora(?:_linear_layer)?[._](?P<side>A|B|down|up)(?:\.\w+)?\.(?:weight|bias)$"
    r"|\.alpha$|\.lora_magnitude_vector(?:\.\w+)*$"
)
_SIDES = {"A": "down", "B": "up"}
_PREFIX = re.compile(r"^(?:lora_(?:unet|te\d?)_|(?:unet|text_encoder(?:_2)?|transformer)\.)")
_SEPARATORS = re.compile(r"\.processor|[._]")
LORA_WEIGHTS = "pytorch_lora_weights.safetensors"  # the name that diffusers gives them


def add_lora(pipeline: Any, source: str) -> None:
    """Adds W <- W + scale B A (Hu et al. 2021) to the weights of network and text encoders.

    source: a Hugging Face id, a folder with one safetensors file, or a file; optionally with a scale, as in
        "NAME@0.7". Also DoRA (Liu et al. 2024) as peft writes it.

    Raises UserError when nothing is found, when some of it does not fit the checkpoint or cannot be added, or
    without peft installed.
    """
    name, scale = split_scale(source)
    check_peft()
    file = weights_file(name)
    layers = lora_layers(file)
    try:
        with quiet():
            pipeline.load_lora_weights(file.parent, weight_name=file.name, local_files_only=True)
            changed = _changed_layers(pipeline)
            if len(changed) >= len(layers):
                pipeline.fuse_lora(lora_scale=scale)
                pipeline.unload_lora_weights()
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the library may raise anything over a file
        raise _unfit(name, first_line(error)) from error
    if not changed:
        raise _unfit(name, "none of them is for its network")
    if left := len(layers) - len(changed):
        missing = [layer for layer in layers if not _is_among(layer, changed)]
        see = f", such as {missing[0]}" if missing else ""
        raise _unfit(name, f"it lacks {left} of their {len(layers)} layers{see}")


def lora_layers(file: Path) -> list[str]:
    """Names of the layers that a file of LoRA weights changes, as it has them.

    Raises UserError for files that are damaged, and for tensors that cannot be added to weights, by name.
    """
    try:
        with safe_open(file, "pt") as stored:
            names = sorted(stored.keys())
    except (OSError, SafetensorError) as error:
        raise UserError(f"The LoRA weights {file} are damaged: download them again.") from error
    sides: dict[str, set[str]] = {}
    for name in names:
        kind = next((kind for mark, kind in OTHER_KINDS.items() if mark in name), None)
        tensor = _TENSOR.search(name)
        if kind or not tensor:
            what = f"{kind} weights, which are" if kind else "a tensor that is"
            raise UserError(
                f"{file} has {what} not supported: see {name}. Give LoRA weights, or merge these into the "
                "checkpoint."
            )
        of_layer = sides.setdefault(name[: tensor.start()], set())
        if side := tensor["side"]:
            of_layer.add(_SIDES.get(side, side))
    for layer, found in sides.items():
        if missing := sorted({"down", "up"} - found):
            raise UserError(
                f"The LoRA weights {file} are damaged: {layer} lacks its {missing[0]} matrix. Download them "
                "again."
            )
    return list(sides)


def _changed_layers(pipeline: Any) -> list[str]:
    """Names of the layers of a pipeline's parts to which LoRA weights were added."""
    from peft.tuners.lora import LoraLayer

    return [
        f"{part}.{name}"
        for part, module in pipeline.components.items()
        if isinstance(module, nn.Module)
        for name, layer in module.named_modules()
        if isinstance(layer, LoraLayer)
    ]


def _is_among(layer: str, changed: Sequence[str]) -> bool:
    """Whether a layer of a file is one of a pipeline's, whatever separates the parts of its name."""
    plain = _SEPARATORS.sub("", _PREFIX.sub("", layer))
    return any(_SEPARATORS.sub("", name).endswith(plain) for name in changed)


def _unfit(name: str, reason: str) -> UserError:
    return UserError(
        f"The LoRA weights {name} do not fit this checkpoint: {reason}. Give a LoRA that was trained for "
        "this model."
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
    layers = {f"{part}_lora_layers": of_part for part, of_part in parts.items()}

    def save(tensors: Mapping[str, Tensor], path: str) -> None:
        write_tensors(Path(path), tensors, {"format": "pt"})

    with quiet():
        save_lora_weights = getattr(diffusers, pipeline).save_lora_weights
        save_lora_weights(folder, weight_name=LORA_WEIGHTS, save_function=save, **layers)


def weights_file(name: str) -> Path:
    """The safetensors file of a Hugging Face id, folder or file. Raises UserError unless there is one."""
    path = resolve_checkpoint(name)
    if path.is_file() and path.suffix == ".safetensors":
        return path
    if path.is_file():
        raise UserError(
            f"LoRA weights are read from .safetensors files only, not from {path}: a {path.suffix or 'file'} "
            "may run code when it is read. Convert it, or download the .safetensors."
        )
    files = sorted(path.glob("*.safetensors"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise UserError(
            f"{name} must contain one safetensors file, and it contains {names}: give the path of a file, or "
            "OWNER/NAME/FILE.safetensors on the hub."
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
