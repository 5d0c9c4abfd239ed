"""Damaged and unusual folders of checkpoints: each part is compared with what it needs, and named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.notice import Notice
from core.pretrained.image_model import load_image_model
from core.pretrained.sampling import CheckpointSampler
from core.pretrained.weights import part_files
from tests.pretrained.conftest import GenVideo
from video.pipelines.checkpoint_reference import checkpoint_reference
from video.pipelines.families import find_family

SCHEDULER = "scheduler/scheduler_config.json"
DEEP = "[" * 100_000
INDEX, VAE, NETWORK = "model_index.json", "vae/config.json", "unet/config.json"


def weights(folder: Path, part: str) -> Path:
    (file,) = (folder / part).glob("*.safetensors")
    return file


def changed_weights(folder: Path, part: str, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(weights(folder, part))
    change(tensors)
    save_file(tensors, weights(folder, part), {"format": "pt"})


@pytest.fixture
def copy(sd_eps: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sd_eps, tmp_path / "copy")


def last(tensors: dict[str, torch.Tensor]) -> str:
    return sorted(name for name in tensors if name.endswith(".weight"))[-1]


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_a_missing_tensor_is_refused_by_name(copy: Path, part: str) -> None:
    name = last(load_file(weights(copy, part)))
    changed_weights(copy, part, lambda tensors: tensors.pop(name))
    with pytest.raises(UserError, match=f"The weights in .*{part} lack {name}. If files are missing"):
        load_image_model(copy)


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_another_shape_is_refused_by_name(copy: Path, part: str) -> None:
    name = last(load_file(weights(copy, part)))
    changed_weights(copy, part, lambda tensors: tensors.update({name: torch.zeros(3, 5)}))
    with pytest.raises(UserError, match=f"The weight {name} in .*{part} does not fit its config: .*3, 5"):
        load_image_model(copy)


@pytest.mark.parametrize("part", ["text_encoder", "transformer", "vae"])
def test_a_missing_tensor_of_a_video_model_is_refused_by_name(
    video_folder: Callable[[str], Path], tmp_path: Path, gen_video: GenVideo, part: str
) -> None:
    folder = shutil.copytree(video_folder("wan"), tmp_path / "copy")
    tensors = load_file(weights(folder, part))
    tied = ("shared.weight", "embed_tokens.weight")  # of T5, one of which may be left out
    name = next(n for n in sorted(tensors, reverse=True) if n.endswith(".weight") and not n.endswith(tied))
    changed_weights(folder, part, lambda tensors: tensors.pop(name))
    size = ["--width", 32, "--height", 32, "--frames", 5, "--device", "cpu", "--force"]
    code, printed = gen_video("a fox", "--model", folder, *size)
    assert code == 2 and f"{part} lack {name}. If files are missing" in printed
    assert printed.count("\n") == 1


def test_extra_tensors_are_named_once(copy: Path) -> None:
    changed_weights(copy, "unet", lambda tensors: tensors.update(first=torch.zeros(1), second=torch.zeros(1)))
    with pytest.warns(Notice, match="tensors that its network does not use: first and 1 more.") as notices:
        load_image_model(copy)
    assert len(notices) == 1


@pytest.mark.parametrize(
    ("file", "changes", "sentence"),
    [
        (INDEX, {"scheduler": ["diffusers", "MagicScheduler"]}, "MagicScheduler of diffusers, .*not known"),
        (INDEX, {"unet": ["somewhere", "UNet"]}, "UNet of somewhere, which is not known to diffusers"),
        (INDEX, {"unet": ["diffusers", 3]}, r"is damaged \(see unet\)"),
        (INDEX, {"extra": ["diffusers", "AutoencoderKL"]}, "lacks the part extra, which its model_index"),
        (NETWORK, {"norm_num_groups": 0}, "Cannot read the checkpoint .*unet: "),
        (NETWORK, {"attention_head_dim": 0}, "Cannot read the checkpoint .*unet: "),
        (VAE, {"norm_num_groups": 0}, "Cannot read the checkpoint .*vae: "),
        ("text_encoder/config.json", {"num_attention_heads": 0}, "Cannot read .*text_encoder: "),
        (SCHEDULER, {"num_train_timesteps": "many"}, "The scheduler's config of this checkpoint is damaged"),
        (SCHEDULER, {"num_train_timesteps": 0}, "timesteps|scheduler's config"),
    ],
)  # fmt: skip
def test_configs_that_cannot_be_used_are_refused(
    copy: Path, file: str, changes: dict[str, object], sentence: str
) -> None:
    values = json.loads((copy / file).read_text())
    (copy / file).write_text(json.dumps(values | changes))
    with pytest.raises(UserError, match=sentence):
        load_image_model(copy)


@pytest.mark.parametrize("file", [INDEX, VAE, NETWORK, SCHEDULER])
@pytest.mark.parametrize("text", ["[1, 2]", "3", DEEP, "{", "null"])
def test_json_that_is_no_object_is_refused(copy: Path, file: str, text: str) -> None:
    (copy / file).write_text(text)
    with pytest.raises(UserError, match=r"damaged|Cannot read the checkpoint"):
        load_image_model(copy)


@pytest.mark.parametrize("text", ["[1, 2]", "3", DEEP, "{"])
def test_json_of_a_video_model_that_is_no_object_is_refused(
    video_folder: Callable[[str], Path], tmp_path: Path, text: str
) -> None:
    folder = shutil.copytree(video_folder("wan"), tmp_path / "copy")
    for file in ("vae/config.json", INDEX):
        (folder / file).write_text(text)
        with pytest.raises(UserError, match=r"is damaged \(not (JSON|a JSON object)\)"):
            checkpoint_reference(str(folder))


@pytest.mark.parametrize("value", [0, -1, "four", None, [1]])
def test_strides_that_are_no_numbers_are_refused(
    video_folder: Callable[[str], Path], tmp_path: Path, value: object
) -> None:
    folder = shutil.copytree(video_folder("wan"), tmp_path / "copy")
    values = json.loads((folder / VAE).read_text())
    (folder / VAE).write_text(json.dumps(values | {"scale_factor_temporal": value}))
    with pytest.raises(UserError, match=r"configs of this Wan checkpoint are damaged|Cannot read"):
        find_family(folder)


def test_a_missing_tokenizer_is_refused(copy: Path) -> None:
    shutil.rmtree(copy / "tokenizer")
    with pytest.raises(UserError, match="lacks the part tokenizer, which its model_index.json lists"):
        load_image_model(copy)


def test_a_folder_of_half_precision_alone_is_read(sd_eps: Path, tmp_path: Path) -> None:
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(sd_eps)
    pipeline.save_pretrained(tmp_path / "half", variant="fp16")
    half, full = load_image_model(tmp_path / "half"), load_image_model(sd_eps)
    expected = full.denoiser.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in half.denoiser.state_dict().items())


def test_the_files_of_one_variant_are_read(tmp_path: Path) -> None:
    def chosen(*names: str) -> list[str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name in names:
            (folder / f"{name}.safetensors").touch()
        return [file.name.removesuffix(".safetensors") for file in part_files(folder)]

    shards = ["model-00001-of-00002", "model-00002-of-00002"]
    halves = ["model.fp16-00001-of-00002", "model.fp16-00002-of-00002"]
    assert chosen(*shards, *halves, "model.non_ema") == shards
    assert chosen(*halves, "model.bf16") == halves
    assert chosen("model.bf16") == ["model.bf16"]
    assert chosen("model.non_ema") == ["model.non_ema"] and chosen() == []


def test_a_single_file_is_refused_with_the_way_to_convert_it(tmp_path: Path, gen_video: GenVideo) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"model.diffusion_model.x": torch.zeros(1)}, file)
    with pytest.raises(UserError, match="is a single file, .* convert it once with from_single_file"):
        load_image_model(file)
    code, printed = gen_video("a fox", "--model", file)
    assert code == 2 and "is a single file, and models are read from folders" in printed


@pytest.mark.parametrize("value", [{}, [], "x", -3, 0])
@pytest.mark.parametrize("key", ["num_train_timesteps", "beta_start", "beta_end", "steps_offset"])
def test_values_of_a_scheduler_are_numbers_or_refused(key: str, value: object) -> None:
    config = {"beta_schedule": "linear", key: value}
    try:
        sampler = CheckpointSampler.from_config(config)
    except UserError:
        return
    assert value in (0, -3) and sampler.schedule.alpha(torch.tensor([0.0])).isfinite().all()
