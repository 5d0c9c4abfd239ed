"""LoRA weights for motion modules: AnimateDiff's camera motions (Guo et al. 2023, section 4.3)."""

from __future__ import annotations

import re

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from core.errors import UserError
from core.pretrained.lora import split_scale, weights_file
from video.animatediff.motion_format import from_original
from video.animatediff.motion_layers import MotionLayers


def is_motion_lora(source: str) -> bool:
    """Whether a LoRA (NAME or NAME@SCALE) is for motion modules. Raises UserError when it cannot be read."""
    file = weights_file(split_scale(source)[0])
    try:
        with safe_open(file, "pt") as stored:
            return any(".motion_modules." in name for name in stored.keys())  # noqa: SIM118  (safe_open, not a dict)
    except SafetensorError as error:
        raise UserError(f"The LoRA weights {file} are damaged: download them again.") from error


@torch.no_grad()
def add_motion_lora(motion: MotionLayers, source: str) -> None:
    """Adds W <- W + scale B A (Hu et al. 2021) to the motion layers.

    source: as in `core.pretrained.lora.add_lora`; its weights may be named as in peft, diffusers or
        AnimateDiff's own code.

    Raises UserError when the LoRA does not fit the motion layers.
    """
    name, scale = split_scale(source)
    stored = {_lora_name(key): value for key, value in from_original(load_file(weights_file(name))).items()}
    weights = dict(motion.named_parameters())
    for layer in sorted({key.partition(".lora.")[0] for key in stored}):
        target = weights.get(f"{layer}.weight")
        down, up = (stored.get(f"{layer}.lora.{which}.weight") for which in ("down", "up"))
        if target is None or down is None or up is None or (len(up), down.shape[1]) != target.shape:
            raise UserError(
                f"The LoRA weights {name} do not fit the motion adapter: see {layer}. "
                "Give a LoRA that was trained for this adapter."
            )
        target += scale * (up.to(target) @ down.to(target))


def _lora_name(name: str) -> str:
    """Canonical names of A and B of a layer: LAYER.lora.down.weight and LAYER.lora.up.weight."""
    name = name.removeprefix("unet.").replace(".lora_A.", ".lora.down.").replace(".lora_B.", ".lora.up.")
    name = re.sub(r"\.processor\.(to_\w+)_lora\.", r".\1.lora.", name)
    return name.replace(".to_out.lora.", ".to_out.0.lora.")
