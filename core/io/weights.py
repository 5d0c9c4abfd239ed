"""Model folders: `config.json` and `model.safetensors`, float16 or int8 on disk, validated when loaded.

Other files of tensors are written by `write_tensors`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from core.errors import UserError
from core.io.atomic import atomic_write, writable_folder
from core.io.base_model import CONFIG
from core.io.files.record import sha256_of
from core.io.presets import validate

FORMAT = 1
WEIGHTS = "model.safetensors"
SCALE = ".scale"  # after the name of an int8 tensor: the scales of its outputs
RANDOM = frozenset({nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_})  # of torch's own layers

Config = TypeVar("Config", bound=BaseModel)
Module = TypeVar("Module", bound=nn.Module)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a file of safetensors, which is complete or absent. Raises UserError in an unwritable folder."""
    with atomic_write(path) as draft:
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        # `save_file` writes a draft of its own, which a killed process would leave behind.
        draft.write_bytes(save(stored, dict(metadata) if metadata else None))


class ModelFolder(NamedTuple):
    """Contents of a model folder."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]  # float32
    sha256: str  # of the weights file


def save_folder(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], int8: bool = False
) -> str:
    """Writes both files of a model folder and returns the sha256 of the weights file.

    Floating-point tensors are stored as float16. Other files in the folder are not changed.

    config: JSON values; "format" and "sha256" are added.
    int8: store matrices and convolutions as int8, in half the bytes. Each output has a scale of its own: no
        value is off by more than 1/250 of the largest of its output, if that is above 0.01.

    Raises UserError when the folder is not writable, or when a weight is not finite in float16.
    """
    writable_folder(folder)
    halves = {}
    for name, tensor in tensors.items():
        half = tensor.detach().cpu().contiguous()
        half = half.half() if half.is_floating_point() else half
        if half.is_floating_point() and not half.isfinite().all():
            raise UserError(f"The weight {name} is not finite in float16, so the model cannot be saved.")
        halves.update(_quantized(name, half) if int8 and half.ndim > 1 else {name: half})
    data = save(halves)
    digest = hashlib.sha256(data).hexdigest()
    with atomic_write(folder / WEIGHTS) as draft:
        draft.write_bytes(data)
    with atomic_write(folder / CONFIG) as draft:
        text = json.dumps({"format": FORMAT, **config, "sha256": digest}, indent=2)
        draft.write_text(text + "\n", encoding="utf-8")
    return digest


def load_folder(folder: Path) -> ModelFolder:
    """Contents of a model folder.

    Raises UserError when a file is missing or damaged, or the two do not match.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        digest = sha256_of(folder / WEIGHTS)
    except OSError as error:
        missing = Path(error.filename).name
        raise UserError(
            f"There is no model in {folder}: cannot read {missing} ({error.strerror})."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"The model's {folder / CONFIG} is damaged: it is not JSON.") from error
    if not isinstance(config, dict) or config.pop("format", None) != FORMAT:
        raise UserError(
            f"{folder / CONFIG} is not the config of a model in format {FORMAT}, the only one supported."
        )
    if config.pop("sha256", None) != digest:
        raise UserError(f"The weights {folder / WEIGHTS} are damaged, or belong to another {CONFIG}.")
    try:
        tensors = load_file(folder / WEIGHTS)  # mapped: the file is not copied into memory
    except SafetensorError as error:
        raise UserError(f"The weights {folder / WEIGHTS} are damaged.") from error
    return ModelFolder(config, _dequantized(tensors), digest)


def _quantized(name: str, weight: Tensor) -> dict[str, Tensor]:
    """A float16 tensor (outputs,...) as int8, and the scales of its outputs, which broadcast to it."""
    scale = (weight.abs().flatten(1).amax(1) / 127).clamp(min=2**-24)
    scale = scale.view(-1, *[1] * (weight.ndim - 1))
    return {
        name: (weight.float() / scale.float()).round().clamp(-127, 127).to(torch.int8),
        name + SCALE: scale,
    }


def _dequantized(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of stored tensors by name; floating-point and int8 ones as float32."""
    scales = {
        n: tensors[n + SCALE] for n, t in tensors.items() if t.dtype == torch.int8 and n + SCALE in tensors
    }
    plain = {n: t for n, t in tensors.items() if n.removesuffix(SCALE) not in scales}
    copies = {
        n: t.to(torch.float32 if t.is_floating_point() else t.dtype, copy=True) for n, t in plain.items()
    }
    return copies | {n: tensors[n] * scale.float() for n, scale in scales.items()}


def first_misfit(needed: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """What is wrong with the first of some given tensors, for a sentence; None if names and shapes agree."""
    for name in sorted(needed.keys() | given.keys()):
        if name not in given:
            return f"{name} is missing"
        if name not in needed:
            return f"{name} is not needed"
        if needed[name].shape != given[name].shape:
            return f"{name} has the shape {tuple(given[name].shape)}, not {tuple(needed[name].shape)}"
    return None


class NoInitialization(TorchFunctionMode):
    """Context in which the random initializations of `torch.nn.init` leave tensors as they are.

    For modules whose parameters `load_weights` replaces. Random numbers are most of the time of making one.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in RANDOM:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def load_weights(
    module: nn.Module, tensors: Mapping[str, Tensor], folder: Path, assign: bool = False
) -> None:
    """Copies `tensors` into `module`.

    assign: make them the parameters of the module instead, which is new, and owns them from then on.

    Raises UserError unless names and shapes agree; see `first_misfit`.
    """
    state = module.state_dict()
    if misfit := first_misfit(state, tensors):
        raise UserError(f"The weights {folder / WEIGHTS} do not fit their {CONFIG}: {misfit}.")
    if assign:
        module.load_state_dict(tensors, assign=True)
        return
    with torch.no_grad():
        for name, target in state.items():
            target.copy_(tensors[name])


def save_model(
    folder: Path,
    kind: str,
    config: BaseModel,
    network: nn.Module,
    notes: Mapping[str, Any] | None = None,
    int8: bool = False,
) -> None:
    """Writes the folder of a model with one network; its config stands under the name of its kind.

    notes: JSON values stored under "training". int8, errors: as in `save_folder`.
    """
    content = {kind: config.model_dump(mode="json"), "training": dict(notes or {})}
    save_folder(folder, content, network.state_dict(), int8)


def load_model(
    folder: Path, kind: str, schema: type[Config], build: Callable[[Config], Module], part: str = ""
) -> tuple[Config, Module]:
    """Config and model of a folder that `save_model` has written, float32, on the CPU.

    build: makes the model of a config. part: name of the model's module whose weights are stored; the model
        itself unless given.

    Raises UserError when it is missing, damaged, or its weights do not fit its config.
    """
    stored = load_folder(folder)
    config = validate(stored.config.get(kind), schema, folder / CONFIG)
    with NoInitialization():
        model = build(config)
    load_weights(model.get_submodule(part), stored.tensors, folder, assign=True)
    return config, model
