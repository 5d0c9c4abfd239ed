"""Motion adapters on disk: both formats are read and written bit-exactly."""

import json
import re
from pathlib import Path

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from core.errors import UserError
from tests.pretrained.motion_checkpoints import adapter, tiny_unet
from video.animatediff.motion_format import (
    MotionConfig,
    from_original,
    read_motion,
    to_original,
    write_motion,
    write_original,
)
from video.animatediff.motion_layers import MotionLayers


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return tiny_unet()


def as_original(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under AnimateDiff's own names, by hand-written rules: one for each kind of weight."""
    rules = [
        (r"(norm|proj_in|proj_out)\.(weight|bias)", r"\1.\2"),
        (r"transformer_blocks\.(\d)\.attn1\.(.+)", r"transformer_blocks.\1.attention_blocks.0.\2"),
        (r"transformer_blocks\.(\d)\.attn2\.(.+)", r"transformer_blocks.\1.attention_blocks.1.\2"),
        (r"transformer_blocks\.(\d)\.norm1\.(.+)", r"transformer_blocks.\1.norms.0.\2"),
        (r"transformer_blocks\.(\d)\.norm2\.(.+)", r"transformer_blocks.\1.norms.1.\2"),
        (r"transformer_blocks\.(\d)\.norm3\.(.+)", r"transformer_blocks.\1.ff_norm.\2"),
        (r"transformer_blocks\.(\d)\.ff\.(.+)", r"transformer_blocks.\1.ff.\2"),
    ]
    renamed = {}
    for name, value in tensors.items():
        place, rest = re.fullmatch(r"(\w+?(?:\.\d+)?\.motion_modules\.\d+)\.(.+)", name).groups()
        if rest.endswith("pos_embed.pe"):
            block = rest.removesuffix("pos_embed.pe")
            for i in (0, 1):
                renamed[f"{place}.temporal_transformer.{block}attention_blocks.{i}.pos_encoder.pe"] = (
                    value.clone()
                )
            continue
        (new,) = {re.sub(old, to, rest) for old, to in rules if re.fullmatch(old, rest)}
        renamed[f"{place}.temporal_transformer.{new}"] = value
    return renamed


def same_bits(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert some.keys() == others.keys()
    for name, value in some.items():
        assert value.dtype == others[name].dtype and torch.equal(value, others[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_round_trip_of_a_diffusers_folder(unet, version, dtype, tmp_path: Path) -> None:
    theirs = adapter(version, unet).to(dtype)
    theirs.save_pretrained(tmp_path / "theirs")
    motion = read_motion(tmp_path / "theirs")
    same_bits(motion.tensors, theirs.state_dict())
    write_motion(tmp_path / "ours", motion)
    again = MotionAdapter.from_pretrained(tmp_path / "ours", torch_dtype=dtype)
    same_bits(dict(again.state_dict()), dict(theirs.state_dict()))
    expected = {k: v for k, v in theirs.config.items() if not k.startswith("_")}
    config = {k: v for k, v in again.config.items() if not k.startswith("_")}
    assert json.loads(json.dumps(config)) == json.loads(json.dumps(expected))


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_round_trip_of_an_original_file(unet, version, tmp_path: Path) -> None:
    theirs = adapter(version, unet)
    original = as_original(theirs.state_dict())
    save_file(original, tmp_path / "original.safetensors")
    motion = read_motion(tmp_path / "original.safetensors")
    same_bits(motion.tensors, theirs.state_dict())
    assert motion.config.motion_max_seq_length == theirs.config.motion_max_seq_length
    assert motion.config.use_motion_mid_block == theirs.config.use_motion_mid_block
    write_original(tmp_path / "again.safetensors", motion)
    same_bits(load_file(tmp_path / "again.safetensors"), original)
    MotionLayers(motion.config).load_state_dict(motion.tensors)


def test_a_training_checkpoint_is_read_without_running_pickled_code(unet, tmp_path: Path) -> None:
    theirs = adapter("v2", unet)
    original = {f"module.{name}": value for name, value in as_original(theirs.state_dict()).items()}
    torch.save(
        {"epoch": 3, "state_dict": {**original, "conv_in.weight": torch.ones(1)}}, tmp_path / "mm.ckpt"
    )
    same_bits(read_motion(tmp_path / "mm.ckpt").tensors, theirs.state_dict())
    torch.save({"state_dict": original, "config": Path("anything but tensors")}, tmp_path / "mm.ckpt")
    with pytest.raises(UserError, match="holds more than tensors: download it as .safetensors"):
        read_motion(tmp_path / "mm.ckpt")


def test_translated_names_are_those_of_diffusers(unet) -> None:
    from diffusers.loaders.single_file_utils import convert_animatediff_checkpoint_to_diffusers

    tensors = dict(adapter("v2", unet).state_dict())
    original = to_original(tensors)
    same_bits(from_original(original), tensors)
    theirs = convert_animatediff_checkpoint_to_diffusers(original)
    same_bits(theirs, {name: value for name, value in tensors.items() if not name.endswith("pos_embed.pe")})


def test_positions_of_new_layers_are_those_of_diffusers(unet) -> None:
    theirs = adapter("v1", unet).state_dict()
    ours = MotionLayers(MotionConfig(block_out_channels=(32, 64), use_motion_mid_block=False)).state_dict()
    for name, value in theirs.items():
        if name.endswith("pos_embed.pe"):
            torch.testing.assert_close(ours[name][:, :24], value, rtol=0, atol=1e-7)


def test_files_that_are_no_adapter_raise(unet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no motion adapter in .*: cannot read config.json"):
        read_motion(tmp_path)
    with pytest.raises(UserError, match="Cannot read the motion adapter"):
        read_motion(tmp_path / "missing.ckpt")
    save_file({"conv_in.weight": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="none of its weights belongs to a motion module"):
        read_motion(tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is damaged"):
        read_motion(tmp_path / "broken.safetensors")
    unet.save_config(tmp_path)
    with pytest.raises(UserError, match="is not a motion adapter: its config.json has the class UNet2D"):
        read_motion(tmp_path)
    adapter("v2", unet).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"conv_in_channels": 9}))
    with pytest.raises(UserError, match="config.json: conv_in_channels"):
        read_motion(tmp_path)
