"""Tests of `dreamlift train`: from shards of a few random images to models that sample."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from core.errors import UserError
from core.models.image_model import ImageModel
from core.training import checkpoint
from dreamlift.commands.training import train
from dreamlift.commands.training.export import export_command
from video.video_model import VideoModel

TRAINING = {"batch_size": 4, "compile": False, "log_steps": 1, "warmup_steps": 0}
NETWORK = {"patch": 2, "widths": [32], "blocks": [1], "attention": [True]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    torch.manual_seed(0)
    shapes = {"images": (12, 3, 8, 8), "clips": (6, 16, 3, 8, 8), "objects": (8, 3, 8, 8)}
    for name, (count, *shape) in shapes.items():
        shard = {
            "pixels": torch.randint(256, (count, *shape), dtype=torch.uint8),
            "caption": torch.arange(count) % 2,
            "azimuth": torch.rand(count) * 360,
            "elevation": torch.rand(count) * 30,
            "phase": torch.rand(count),
            "shadow": torch.zeros(count, dtype=torch.uint8),
        }
        save_file(shard, folder / f"{name}-00000.safetensors")
    (folder / "captions.txt").write_text("a panda on a swing\na fox\n")
    return folder


def preset(folder: Path, **values: object) -> str:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


@pytest.fixture(scope="module")
def image_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the image model, two steps long."""
    folder = tmp_path_factory.mktemp("image")
    tiny = preset(
        folder, model={"size": 8, "network": NETWORK}, clip_frames=True, objects=True, training=TRAINING
    )
    train.image(data, folder / "run", preset=tiny, steps=2)
    return folder / "run"


def steps_of(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_image_training_exports_a_model_that_samples(image_run: Path, tmp_path: Path) -> None:
    assert steps_of(image_run) == [1, 2]
    export_command(image_run, tmp_path / "model")
    model = ImageModel.load(tmp_path / "model")
    averaged = checkpoint.read_ema(image_run)
    for name, value in model.denoiser.network.state_dict().items():
        assert torch.equal(value, averaged[name].half().float()), name
    assert model.sample(["a fox"], steps=2).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("command", [train.image, train.video])
def test_object_shards_are_read_only_with_the_objects_option(
    command: Callable[..., None], data: Path, image_run: Path, tmp_path: Path
) -> None:
    """A shard of objects with missing columns raises an error only if `objects` is set."""
    export_command(image_run, tmp_path / "model")
    for path in data.iterdir():
        shutil.copy(path, tmp_path)
    save_file({"pixels": torch.zeros(1, 3, 8, 8).byte()}, tmp_path / "objects-00000.safetensors")
    model = {"model": {"size": 8, "network": NETWORK}} if command is train.image else {"frames": 4}
    for objects in (False, True):
        tiny = preset(tmp_path, **model, objects=objects, training=TRAINING)
        run = tmp_path / f"run-{objects}"
        if objects:
            with pytest.raises(UserError, match=r"objects-00000.safetensors has no"):
                command(tmp_path, run, tmp_path / "model", preset=tiny, steps=1)
        else:
            command(tmp_path, run, tmp_path / "model", preset=tiny, steps=1)


def test_video_training_exports_a_model_that_samples(data: Path, image_run: Path, tmp_path: Path) -> None:
    export_command(image_run, tmp_path / "image")
    run = tmp_path / "run"
    tiny = preset(tmp_path, frames=4, image_rate=0.0, image_steps=0.0, training=TRAINING)
    train.video(data, run, image_run, preset=tiny, steps=2)
    train.video(data, run, steps=3, resume=True)  # a resumed run needs no --init
    assert steps_of(run) == [1, 2, 3]
    export_command(run, tmp_path / "video", tmp_path / "image")

    model = VideoModel.load(tmp_path / "video")
    assert model.config.loop == 16
    averaged = checkpoint.read_ema(image_run)
    for name, value in model.denoiser.network.image.state_dict().items():  # their rate was zero
        assert torch.equal(value, averaged[name].half().float()), name
    assert any(
        parameter.any()
        for name, parameter in model.denoiser.network.temporal.named_parameters()
        if "expand" in name
    )
    assert model.sample(["a fox"], frames=3, steps=2).shape == (1, 3, 3, 8, 8)


def test_export_of_the_image_layers_of_a_video_run(data: Path, image_run: Path, tmp_path: Path) -> None:
    tiny = preset(tmp_path, frames=4, image_rate=1.0, training=TRAINING)
    train.video(data, tmp_path / "run", image_run, preset=tiny, steps=1)
    export_command(tmp_path / "run", tmp_path / "image", image_layers=True)
    export_command(tmp_path / "run", tmp_path / "video", tmp_path / "image")
    image = ImageModel.load(tmp_path / "image").denoiser.network.state_dict()
    for name, value in VideoModel.load(tmp_path / "video").denoiser.network.image.state_dict().items():
        assert torch.equal(value, image[name]), name
    before = checkpoint.read_ema(image_run)
    assert any(not torch.equal(value, before[name].half().float()) for name, value in image.items())


def test_video_training_starts_from_a_video_model(data: Path, image_run: Path, tmp_path: Path) -> None:
    still = TRAINING | {"learning_rate": 1e-12, "weight_decay": 0.0}
    tiny = preset(tmp_path, frames=4, image_rate=1.0, training=TRAINING)
    train.video(data, tmp_path / "first", image_run, preset=tiny, steps=2)
    export_command(tmp_path / "first", tmp_path / "video")
    tiny = preset(tmp_path, frames=4, noise_share=0.25, training=still)
    train.video(data, tmp_path / "second", tmp_path / "video", preset=tiny, steps=1)
    before = VideoModel.load(tmp_path / "video")
    for name, value in checkpoint.read_ema(tmp_path / "second").items():
        torch.testing.assert_close(value, before.denoiser.network.state_dict()[name], rtol=0, atol=1e-9)
    export_command(tmp_path / "second", tmp_path / "again")
    assert VideoModel.load(tmp_path / "again").config.noise_share == 0.25

    other = preset(tmp_path, temporal={"ratio": 1.0}, frames=4, training=TRAINING)
    with pytest.raises(UserError, match="other temporal layers than the preset"):
        train.video(data, tmp_path / "third", tmp_path / "video", preset=other, steps=1)


def test_image_training_starts_from_another_model(data: Path, image_run: Path, tmp_path: Path) -> None:
    settings = json.loads((image_run / "preset.json").read_text())["preset"]
    settings["training"] |= {"learning_rate": 1e-12, "weight_decay": 0.0}
    train.image(data, tmp_path / "run", image_run, preset=preset(tmp_path, **settings), steps=1)
    before = checkpoint.read_ema(image_run)
    for name, value in checkpoint.read_ema(tmp_path / "run").items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-9)


def test_run_continues_only_with_resume_and_the_same_preset(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny = preset(tmp_path, model={"size": 8, "network": NETWORK}, training=TRAINING)
    train.image(data, run, preset=tiny, steps=1, resume=True)  # starts a new run
    with pytest.raises(UserError, match="already holds a run: add --resume"):
        train.image(data, run, preset=tiny, steps=2)
    with pytest.raises(UserError, match="started with another preset than bundled-image"):
        train.image(data, run, preset="bundled-image", steps=2, resume=True)
    with pytest.raises(UserError, match="trains the image model, not the video model"):
        train.video(data, run, steps=2, resume=True)
    train.image(data, run, steps=2, resume=True)
    assert steps_of(run) == [1, 2]


def test_invalid_training_and_export_raise_user_errors(data: Path, image_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match="a number of steps or of minutes"):
        train.image(data, run)
    with pytest.raises(UserError, match="starts from an image model: .* --init"):
        train.video(data, run, steps=1)
    with pytest.raises(UserError, match="There is no model in"):
        train.video(data, run, tmp_path, steps=1)
    with pytest.raises(UserError, match="There is no run in"):
        export_command(tmp_path, tmp_path / "model")
    with pytest.raises(UserError, match="There is no model in"):
        export_command(image_run, tmp_path / "model", base=tmp_path)
    with pytest.raises(UserError, match="holds no pictures or clips"):
        train.image(tmp_path, run, preset=preset(tmp_path), steps=1)
