"""Low-rank changes of an image model, from the command line's functions to a folder that loads."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from core.errors import UserError
from core.models.image_model import ImageModel, ImageModelConfig
from core.nn.unet import UNetConfig
from dreamlift.commands.training import train
from dreamlift.commands.training.export import export_command

CONFIG = ImageModelConfig(size=8, network=UNetConfig(patch=2, widths=(32,), blocks=(1,), attention=(True,)))
TRAINING = {"batch_size": 2, "compile": False, "warmup_steps": 0, "decay": 0.0, "learning_rate": 0.01}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A new image model."""
    torch.manual_seed(0)
    ImageModel(CONFIG, CONFIG.denoiser()).save(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def run(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Trains changes of rank 2 of the base on four pictures."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "pictures").mkdir()
    for number, color in enumerate(("red", "green", "blue", "gray")):
        Image.new("RGB", (8, 8), color).save(tmp_path / "pictures" / f"a {color} square {number}.png")
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump({"rank": 2, "dropout": {"text": 0.1}, "training": TRAINING}))

    def train_changes(name: str, steps: int, **options: object) -> Path:
        defaults = {"init": base, "preset": str(preset)}
        train.image(tmp_path / "pictures", tmp_path / name, steps=steps, **(defaults | options))
        return tmp_path / name

    return train_changes


def test_the_exported_folder_is_the_base_and_products_of_that_rank(
    run: Callable[..., Path], base: Path, tmp_path: Path
) -> None:
    trained = run("run", steps=3, sample=["a red square"])
    assert (trained / "samples" / "step-000003.png").is_file()
    export_command(trained, tmp_path / "changed")
    changed, before = ImageModel.load(tmp_path / "changed"), ImageModel.load(base)
    assert not changed.reads_attributes
    stored = load_file(tmp_path / "changed" / "model.safetensors")
    of_base = before.denoiser.network.state_dict()
    moved = 0
    for name, weight in changed.denoiser.network.state_dict().items():
        if f"{name}.down" not in stored:
            assert torch.equal(weight, of_base[name]), name
            continue
        down, up = stored[f"{name}.down"].float(), stored[f"{name}.up"].float()
        assert len(down) <= 2
        product = torch.einsum("or,ri->oi", up, down).reshape(weight.shape)
        torch.testing.assert_close(weight, of_base[name] + product, rtol=0, atol=1e-6)
        moved += bool(product.abs().max() > 1e-4)
    assert moved > 5
    (picture,), (other,) = (model.sample(["a red square"], steps=2) for model in (changed, before))
    assert not torch.equal(picture, other)


def test_int8_changes_are_those_of_float16_to_a_percent(run: Callable[..., Path], tmp_path: Path) -> None:
    trained = run("run", steps=3)
    export_command(trained, tmp_path / "halves")
    export_command(trained, tmp_path / "bytes", int8=True)
    halves, whole = (
        ImageModel.load(tmp_path / name).denoiser.network.state_dict() for name in ("halves", "bytes")
    )
    base = ImageModel.load(tmp_path / "base").denoiser.network.state_dict()
    off = torch.stack([(whole[name] - halves[name]).norm() for name in base]).norm()
    moved = torch.stack([(halves[name] - base[name]).norm() for name in base]).norm()
    assert 0 < off < 0.01 * moved


def test_a_stopped_run_ends_at_the_same_weights(run: Callable[..., Path], base: Path, tmp_path: Path) -> None:
    export_command(run("whole", steps=3), tmp_path / "a")
    run("stopped", steps=2)
    export_command(run("stopped", steps=3, resume=True, init=None), tmp_path / "b")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def test_the_base_must_be_there_and_stay_the_same(
    run: Callable[..., Path], base: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="name it with --init"):
        run("none", steps=1, init=None, preset=None, rank=2)
    first = run("run", steps=1)
    with pytest.raises(UserError, match="is a run: export it first"):
        run("of-a-run", steps=1, init=first)
    with pytest.raises(UserError, match="trains changes of rank 2: leave out --rank"):
        run("run", steps=2, resume=True, preset=None, rank=4)
    with pytest.raises(UserError, match="leave out --base"):
        export_command(first, tmp_path / "changed", base)
    export_command(first, tmp_path / "changed")
    torch.manual_seed(1)
    ImageModel(CONFIG, CONFIG.denoiser()).save(base)
    with pytest.raises(UserError, match="rests on another image model"):
        ImageModel.load(tmp_path / "changed")


def test_changes_of_another_network_are_refused(run: Callable[..., Path], base: Path, tmp_path: Path) -> None:
    wide = CONFIG.model_copy(update={"network": CONFIG.network.model_copy(update={"widths": (64,)})})
    torch.manual_seed(0)
    ImageModel(wide, wide.denoiser()).save(tmp_path / "wide")
    export_command(run("run", steps=1), tmp_path / "changed")
    config = (tmp_path / "changed" / "config.json").read_text()
    for old, new in (("../base", "../wide"), (sha256(base), sha256(tmp_path / "wide"))):
        config = config.replace(old, new)
    (tmp_path / "changed" / "config.json").write_text(config)
    with pytest.raises(UserError, match="changes in .* are of another network"):
        ImageModel.load(tmp_path / "changed")


def sha256(folder: Path) -> str:
    return str(yaml.safe_load((folder / "config.json").read_text())["sha256"])
