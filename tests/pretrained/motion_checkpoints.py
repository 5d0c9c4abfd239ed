"""Tiny motion adapters with random weights, made by diffusers' own class."""

from pathlib import Path

import torch
from diffusers import MotionAdapter, UNet2DConditionModel
from safetensors.torch import save_file

VERSIONS = {
    "v1": {"use_motion_mid_block": False, "motion_max_seq_length": 24},
    "v2": {"use_motion_mid_block": True, "motion_max_seq_length": 32},
    "v3": {"use_motion_mid_block": False, "motion_max_seq_length": 32},
    "sdxl": {"use_motion_mid_block": False, "motion_max_seq_length": 32},
}


def random_weights(module: torch.nn.Module, seed: int, std: float = 0.1) -> None:
    """Sets random parameters, large enough that each has an effect; weights of norms are near one."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = std * torch.randn(parameter.shape, generator=generator)
        one = "norm" in name and name.endswith("weight")
        parameter.data.copy_(noise + 1 if one else noise)


def tiny_unet(seed: int = 1) -> UNet2DConditionModel:
    """A U-Net like Stable Diffusion's: one level with attention and one without."""
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
    ).eval()
    random_weights(unet, seed)
    return unet


def adapter(version: str, unet: UNet2DConditionModel, seed: int = 7) -> MotionAdapter:
    """A motion adapter with the layout of an AnimateDiff version, for a U-Net of any size."""
    config = unet.config
    made = MotionAdapter(
        block_out_channels=tuple(config.block_out_channels),
        motion_layers_per_block=config.layers_per_block,
        motion_norm_num_groups=config.norm_num_groups,
        **VERSIONS[version],
    ).eval()
    random_weights(made, seed)
    return made


def motion_adapter(folder: Path, version: str, unet: UNet2DConditionModel) -> Path:
    """Writes an adapter in diffusers' format; returns its folder."""
    adapter(version, unet).save_pretrained(folder)
    return folder


def motion_lora(file: Path, part: str, unet: torch.nn.Module, rank: int = 2) -> Path:
    """LoRA weights under diffusers' names for the attentions within "attentions" or "motion_modules"."""
    generator = torch.Generator().manual_seed(11)
    weights = {}
    for name, module in unet.named_modules():
        if f".{part}." in name and name.endswith((".to_q", ".to_v", ".to_out.0")):
            shapes = {"down": (rank, module.in_features), "up": (module.out_features, rank)}
            for which, shape in shapes.items():
                weights[f"unet.{name}.lora.{which}.weight"] = torch.randn(shape, generator=generator) / 4
    save_file(weights, file)
    return file
