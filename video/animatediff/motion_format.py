"""Motion adapters on disk: diffusers' folders and AnimateDiff's own files, read and written bit-exactly.

Both formats hold the same tensors. In memory they have diffusers' names; the names of AnimateDiff's own code
(Guo et al. 2023) are translated on reading and writing. The versions have the same format and differ in
shape: v1 has 24 positions and no module in the middle block. v2 has 32 positions and a module there. v3 is v1
with 32 positions (and comes with a LoRA for the image layers). SDXL's beta is v3 with three levels.
"""

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.errors import UserError
from core.io.atomic import atomic_write, writable_folder
from core.io.presets import validate
from core.io.weights import write_tensors
from core.pretrained.hub import resolve_checkpoint

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
WEIGHTS_HALF = "diffusion_pytorch_model.fp16.safetensors"  # the only weights of some folders on the hub

HEADS = 8  # of every AnimateDiff version; its own files do not store it


class MotionConfig(BaseModel):
    """Config of a motion adapter, with the field names of diffusers' `MotionAdapter`.

    For a field with one value per level, a single number applies to all levels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    motion_layers_per_block: int | tuple[int, ...] = 2
    motion_transformer_layers_per_block: int | tuple[int, ...] = 1
    motion_mid_block_layers_per_block: int = 1
    motion_transformer_layers_per_mid_block: int = 1
    motion_num_attention_heads: int | tuple[int, ...] = HEADS
    motion_norm_num_groups: int = 32
    motion_max_seq_length: int = Field(default=32, ge=1, description="maximum number of frames per call")
    use_motion_mid_block: bool = True
    conv_in_channels: None = Field(default=None, description="used only by PIA, a different model")

    def per_level(self, name: str) -> tuple[int, ...]:
        """Values of a field, one per level of the U-Net.

        Raises UserError when the field has another number of values.
        """
        value, levels = getattr(self, name), len(self.block_out_channels)
        values = (value,) * levels if isinstance(value, int) else value
        if len(values) != levels:
            raise UserError(f"The motion adapter's {name} has {len(values)} values for {levels} levels.")
        return values


class MotionFile(NamedTuple):
    """Config and tensors of a motion adapter."""

    config: MotionConfig
    tensors: dict[str, Tensor]  # diffusers' names, in the dtype of the file


def motion_files(motion: str) -> list[Path]:
    """The weight files of a motion adapter, given as a folder, file or Hugging Face id; [] for "none"."""
    if motion == "none":
        return []
    path = resolve_checkpoint(motion)
    return [path] if path.is_file() else sorted(path.glob("*.safetensors"))


def read_motion(path: Path) -> MotionFile:
    """Reads a motion adapter: a folder of diffusers' `MotionAdapter`, or a single file with either names.

    A single file does not store all of the config; the rest are AnimateDiff's values: 8 heads, 32 groups.

    Raises UserError when the adapter is missing or damaged, or when it is not a motion adapter.
    """
    if path.is_dir():
        return _read_folder(path)
    tensors = from_original(_read_tensors(path))
    if not tensors:
        raise UserError(f"{path} is not a motion adapter: none of its weights belongs to a motion module.")
    return MotionFile(_config_of(tensors, path), tensors)


def write_motion(folder: Path, motion: MotionFile) -> None:
    """Writes a folder for diffusers' `MotionAdapter.from_pretrained`; the tensors are not converted.

    Raises UserError when the folder cannot be written.
    """
    writable_folder(folder)
    write_tensors(folder / WEIGHTS, motion.tensors)
    with atomic_write(folder / CONFIG) as draft:
        settings = {"_class_name": "MotionAdapter", **motion.config.model_dump(mode="json")}
        draft.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def write_original(path: Path, motion: MotionFile) -> None:
    """Writes the tensors under AnimateDiff's own names, unconverted, to one .safetensors file."""
    writable_folder(path.parent)
    # Two of its names are of one tensor, which a file of safetensors cannot say.
    write_tensors(path, {name: tensor.clone() for name, tensor in to_original(motion.tensors).items()})


# AnimateDiff's name of a part of a transformer block -> diffusers'
PARTS = {
    "attention_blocks.0": "attn1",
    "attention_blocks.1": "attn2",
    "norms.0": "norm1",
    "norms.1": "norm2",
    "ff_norm": "norm3",
}
POSITIONS = "pos_embed.pe"
ORIGINAL_POSITIONS = [
    f"attention_blocks.{i}.pos_encoder.pe" for i in range(2)
]  # two equal tables, of which diffusers stores one


def from_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the motion modules under diffusers' names; other tensors are dropped.

    Names that are diffusers' already are not changed.
    """
    translated = {}
    for name, value in tensors.items():
        name = name.removeprefix("module.").replace(".temporal_transformer.", ".")
        if ".motion_modules." not in name or name.endswith(ORIGINAL_POSITIONS[1]):
            continue
        name = name.replace(ORIGINAL_POSITIONS[0], POSITIONS)
        for original, part in PARTS.items():
            name = name.replace(f".{original}.", f".{part}.")
        translated[name] = value
    return translated


def to_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under AnimateDiff's own names: the inverse of `from_original`."""
    translated = {}
    for name, value in tensors.items():
        name = re.sub(r"(motion_modules\.\d+)\.", r"\1.temporal_transformer.", name)
        for original, part in PARTS.items():
            name = name.replace(f".{part}.", f".{original}.")
        for positions in ORIGINAL_POSITIONS if name.endswith(POSITIONS) else [POSITIONS]:
            translated[name.replace(POSITIONS, positions)] = value
    return translated


def _read_folder(folder: Path) -> MotionFile:
    """Reads a folder of diffusers' `MotionAdapter`. Raises UserError when it is not one."""
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"There is no motion adapter in {folder}: cannot read {CONFIG} ({error.strerror})."
        ) from error
    except ValueError as error:
        raise UserError(
            f"{folder / CONFIG} is damaged (not JSON): download the motion adapter again."
        ) from error
    kind = settings.get("_class_name") if isinstance(settings, dict) else None
    if kind != "MotionAdapter":
        raise UserError(
            f"{folder} is not a motion adapter: its {CONFIG} has the class {kind}, not MotionAdapter."
        )
    known = {name: value for name, value in settings.items() if not name.startswith("_")}
    weights = folder / (WEIGHTS if (folder / WEIGHTS).is_file() else WEIGHTS_HALF)
    return MotionFile(validate(known, MotionConfig, folder / CONFIG), _read_tensors(weights))


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a torch checkpoint. Raises UserError when it is unreadable."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # weights_only admits tensors and plain containers and runs no code of the pickle. Before torch 2.6 it
        # could be circumvented (CVE-2025-32434), so pyproject.toml requires 2.6.
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"Cannot read the motion adapter {path}: {error.strerror or error}.") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(
            f"The motion adapter {path} is damaged or holds more than tensors: download it as .safetensors."
        ) from error
    stored = stored.get("state_dict", stored) if isinstance(stored, dict) else {}
    return {name: value for name, value in stored.items() if isinstance(value, Tensor)}


def _config_of(tensors: Mapping[str, Tensor], path: Path) -> MotionConfig:
    """Config inferred from the tensors of a single file. Raises UserError when the first block is missing."""
    channels, layers = [], []
    while (first := f"down_blocks.{len(channels)}.motion_modules.0.norm.weight") in tensors:
        channels.append(len(tensors[first]))
        pattern = re.compile(rf"down_blocks\.{len(layers)}\.motion_modules\.\d+\.norm\.weight")
        layers.append(sum(1 for name in tensors if pattern.fullmatch(name)))
    positions = tensors.get(f"down_blocks.0.motion_modules.0.transformer_blocks.0.{POSITIONS}")
    if not channels or positions is None:
        raise UserError(
            f"The motion adapter {path} is incomplete: the modules of the first block are missing."
        )
    return MotionConfig(
        block_out_channels=tuple(channels),
        motion_layers_per_block=tuple(layers),
        motion_max_seq_length=positions.shape[1],
        use_motion_mid_block=any(name.startswith("mid_block.") for name in tensors),
    )
