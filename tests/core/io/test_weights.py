"""Model folders: round trips, and errors for damaged files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from core.errors import UserError
from core.io.base_model import CONFIG
from core.io.weights import WEIGHTS, load_folder, load_weights, save_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_folder(tmp_path / "model", {"size": 64}, nn.Linear(3, 2).state_dict())
    return tmp_path / "model"


def test_weights_are_restored_in_half_precision(tmp_path: Path) -> None:
    # channels_last: stored in contiguous order, independent of the memory format.
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    digest = save_folder(tmp_path, {"a": [1, None]}, {"image": image, "count": torch.tensor([2**40])})
    config, tensors, sha256 = load_folder(tmp_path)
    assert config == {"a": [1, None]} and sha256 == digest
    assert tensors["image"].dtype == torch.float32
    assert torch.equal(tensors["image"], image.half().float())
    assert tensors["count"].tolist() == [2**40]


@pytest.mark.parametrize("shape", [(5, 40), (5, 4, 5, 2)])
def test_int8_weights_differ_by_half_a_step_of_their_output(tmp_path: Path, shape: tuple[int, ...]) -> None:
    noise = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    matrix = (noise * torch.tensor([0.01, 0.1, 1.0, 100.0, 0.0])[:, None]).view(shape)
    save_folder(tmp_path, {}, {"m": matrix, "bias": torch.ones(3), "m.scale.x": torch.ones(1)}, int8=True)
    tensors = load_folder(tmp_path).tensors
    assert sorted(tensors) == ["bias", "m", "m.scale.x"]
    step = matrix.flatten(1).abs().amax(1, keepdim=True) / 127
    assert ((tensors["m"] - matrix).flatten(1).abs() <= 0.51 * step).all()
    assert load_file(tmp_path / WEIGHTS)["m"].dtype == torch.int8


def test_saving_again_replaces_the_model_and_no_other_files(folder: Path) -> None:
    (folder / "README.md").write_text("the model card")
    save_folder(folder, {"size": 32}, {"x": torch.ones(1)})
    assert load_folder(folder).config == {"size": 32}
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", CONFIG, WEIGHTS]


def test_weights_beyond_half_precision_raise_user_error_and_the_old_model_remains(folder: Path) -> None:
    before = (folder / WEIGHTS).read_bytes()
    for value in (1e5, float("nan")):
        with pytest.raises(UserError, match="The weight w is not finite"):
            save_folder(folder, {}, {"w": torch.tensor([value])})
    assert (folder / WEIGHTS).read_bytes() == before
    load_folder(folder)


def test_an_unwritable_folder_raises_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write into the folder"):
        save_folder(tmp_path / "file", {}, {})


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_raises_user_error(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"There is no model in .*: cannot read {name}"):
        load_folder(folder)


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_truncated_weights_raise_user_error(folder: Path, keep: int) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:keep])
    with pytest.raises(UserError, match="damaged"):
        load_folder(folder)


def test_a_flipped_bit_raises_user_error(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        load_folder(folder)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("{", "not JSON"),
        ("[]", "not the config of a model"),
        ("{}", "not the config of a model"),
        ('{"format": 2}', "not the config of a model"),
    ],
)
def test_an_invalid_config_raises_user_error(folder: Path, config: str, sentence: str) -> None:
    (folder / CONFIG).write_text(config)
    with pytest.raises(UserError, match=sentence):
        load_folder(folder)


def test_weights_that_are_not_safetensors_raise_user_error_despite_a_matching_hash(folder: Path) -> None:
    from hashlib import sha256

    (folder / WEIGHTS).write_bytes(b"junk")
    config = json.loads((folder / CONFIG).read_text()) | {"sha256": sha256(b"junk").hexdigest()}
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(UserError, match="damaged"):
        load_folder(folder)


def test_load_weights_copies_matching_tensors(folder: Path) -> None:
    module = nn.Linear(3, 2)
    tensors = load_folder(folder).tensors
    load_weights(module, tensors, folder)
    assert torch.equal(module.weight, tensors["weight"]) and torch.equal(module.bias, tensors["bias"])


@pytest.mark.parametrize(
    ("module", "name"),
    [(nn.Linear(3, 3), "bias"), (nn.Linear(3, 2, bias=False), "bias"), (nn.Bilinear(3, 3, 2), "weight")],
    ids=["shape", "too many", "other rank"],
)
def test_load_weights_names_the_first_tensor_that_does_not_fit(
    folder: Path, module: nn.Module, name: str
) -> None:
    with pytest.raises(UserError, match=f"do not fit their {CONFIG}: {name} "):
        load_weights(module, load_folder(folder).tensors, folder)
