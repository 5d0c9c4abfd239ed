"""The other stages on a folder of one's own: autoencoder, super-resolution and temporal super-resolution."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import yaml
from PIL import Image

from core.bundled import BUNDLED
from core.errors import UserError
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.super_resolution import SuperResolution
from core.training import checkpoint
from core.training.data import Shards
from dreamlift import TextToImage, TextToVideo
from dreamlift.cli import app
from dreamlift.commands.training import train
from dreamlift.commands.training.export import export_command
from dreamlift.commands.training.train_autoencoder import train_autoencoder_command
from dreamlift.commands.training.train_interpolation import train_interpolation_command
from dreamlift.commands.training.train_super_resolution import train_super_resolution_command
from video.cascade.interpolation import FrameInterpolation

TRAINING = {"batch_size": 4, "compile": False, "log_steps": 1, "warmup_steps": 0, "decay": 0.0}
STILL = TRAINING | {"batch_size": 1, "learning_rate": 1e-12, "weight_decay": 0.0}
STAGE = {"size": 16, "latent_channels": 4, "widths": [8, 16], "decoder_blocks": [1, 1]}
NETWORK = {"in_channels": 4, "patch": 1, "widths": [32], "blocks": [1], "attention": [True]}
MODEL = {"size": 16, "network": NETWORK, "clip": None, "first_stage": STAGE}
LARGE = {"size": 32, "factor": 2, "widths": [16, 16], "blocks": [1, 1]}


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six pictures and a small one, and two clips of 20 frames in 1.25 seconds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "my data"
    folder.mkdir()
    for number in range(6):
        noise((40, 36), number).save(folder / f"a rug {number}.png")
    noise((31, 90), 6).save(folder / "a stamp.png")
    for number in range(2):
        frames = [noise((32, 32), 20 * number + 10 + frame) for frame in range(20)]
        path = folder / f"a moving rug {number}.webp"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=62, lossless=True)
    return folder


def preset(path: Path, **values: object) -> str:
    path.write_text(yaml.safe_dump({"training": TRAINING} | values))
    return str(path)


def test_all_stages_of_one_folder_work_beside_each_other(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, runs = tmp_path / "mine", tmp_path / "runs"
    stage = preset(tmp_path / "stage.yaml", model=STAGE)
    paths = {"data": folder, "run": runs / "stage", "out": mine / "first_stage", "preset": stage, "fps": 16}
    train_autoencoder_command(**paths, steps=1)
    train_autoencoder_command(**paths, steps=2, resume=True)
    notes = json.loads((mine / "first_stage" / "config.json").read_text())["training"]
    assert notes["held_back"] == 3 and notes["images"] == 7 + 4 * 16 - 3  # two windows of each clip

    images = preset(tmp_path / "image.yaml", model=MODEL)
    train.image(folder, runs / "image", preset=images, steps=2, first_stage=mine / "first_stage", fps=16)
    export_command(runs / "image", mine / "image")
    clips = preset(tmp_path / "video.yaml", frames=4, image_steps=0.0)
    train.video(folder, runs / "video", mine / "image", preset=clips, steps=2, fps=16)
    export_command(runs / "video", mine / "video", mine / "image")

    between = preset(tmp_path / "between.yaml", model={"channels": 4, "widths": [16], "blocks": [1]})
    paths = {"data": folder, "run": runs / "between", "out": mine / "interpolation", "preset": between}
    train_interpolation_command(**paths, first_stage=mine / "image", steps=1)
    train_interpolation_command(**paths, steps=2, resume=True)  # the run keeps the first stage
    fingerprint = Autoencoder.load(mine / "first_stage").fingerprint
    assert FrameInterpolation.load(mine / "interpolation").config.first_stage == fingerprint

    capsys.readouterr()
    large = preset(tmp_path / "large.yaml", model=LARGE, crop=8)
    paths = {"data": folder, "run": runs / "large", "out": mine / "super_resolution", "preset": large}
    train_super_resolution_command(**paths, model=mine / "image", fps=8, steps=1)
    printed = capsys.readouterr().out
    assert "1 could not be used" in printed
    assert "a stamp.png: it has 31x90 pixels, and its shorter side needs 32" in printed
    with pytest.raises(UserError, match="started with another --model"):
        train_super_resolution_command(**paths, fps=8, steps=2, resume=True)
    train_super_resolution_command(**paths, model=mine / "image", fps=8, steps=2, resume=True)
    notes = json.loads((mine / "super_resolution" / "config.json").read_text())["training"]
    assert notes["held_back"] == 0 and notes["images"] == 6 + 2 * 10  # all frames at 8 a second

    picture = TextToImage.from_pretrained(mine / "image")("a rug", num_inference_steps=2)
    assert picture.image.size == (32, 32)
    clip = TextToVideo.from_pretrained(mine / "video")("a rug", num_frames=4, num_inference_steps=2, fps=16)
    assert clip.frames.shape == (7, 32, 32, 3)


def test_pictures_alone_train_super_resolution_without_an_image_model(folder: Path, tmp_path: Path) -> None:
    for clip in folder.glob("*.webp"):
        clip.unlink()
    large = preset(tmp_path / "large.yaml", model=LARGE, crop=8, training=TRAINING | {"batch_size": 3})
    paths = {"data": folder, "run": tmp_path / "run", "out": tmp_path / "out", "preset": large}
    train_super_resolution_command(**paths, steps=1)
    train_super_resolution_command(**paths, steps=2, resume=True)
    assert SuperResolution.load(tmp_path / "out").sample(torch.zeros(1, 3, 16, 16), [0]).shape[-1] == 32
    (cache,) = (tmp_path / "cache" / "dreamlift" / "data").iterdir()
    assert not list(cache.glob("inputs-*")) and len(Shards(cache, "images")) == 6
    with pytest.raises(UserError, match="my data holds no clips: temporal super-resolution needs some"):
        train_interpolation_command(folder, tmp_path / "between", tmp_path / "out", steps=1)


def test_all_stages_start_from_the_bundled_models(folder: Path, tmp_path: Path) -> None:
    """With a rate of nearly zero the weights stay those of the start."""
    for number in range(2):
        noise((256, 256), number).save(folder / f"large {number}.png")
    paths = {"data": folder, "init": Path("bundled"), "steps": 1}
    sharp = yaml.safe_load(Path("configs/super-resolution-sharp.yaml").read_text())
    large = preset(tmp_path / "large.yaml", **sharp | {"training": STILL})
    train_super_resolution_command(
        **paths, run=tmp_path / "large", out=tmp_path / "super_resolution", preset=large
    )
    between = preset(tmp_path / "between.yaml", training=STILL)
    train_interpolation_command(
        **paths, run=tmp_path / "between", out=tmp_path / "interpolation", preset=between
    )
    first = yaml.safe_load(Path("configs/autoencoder-64.yaml").read_text())
    stage = preset(tmp_path / "stage.yaml", **first | {"training": STILL})
    train_autoencoder_command(
        **paths, run=tmp_path / "stage", out=tmp_path / "first", preset=stage, decoder_only=True
    )
    for name, model in (("super_resolution", SuperResolution), ("interpolation", FrameInterpolation)):
        before, after = (model.load(parent / name) for parent in (BUNDLED, tmp_path))
        assert before.config == after.config
        for key, value in before.denoiser.network.state_dict().items():
            torch.testing.assert_close(value, after.denoiser.network.state_dict()[key], rtol=1e-3, atol=1e-6)
    before = TextToImage.from_pretrained().model.first_stage
    assert before and Autoencoder.load(tmp_path / "first").fingerprint == before.fingerprint
    weights = checkpoint.read_ema(tmp_path / "stage")
    for key, value in before.state_dict().items():
        torch.testing.assert_close(value, weights[key], rtol=0, atol=1e-6)


def test_models_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    paths = {"data": folder, "run": tmp_path / "run", "out": tmp_path / "out", "steps": 1}
    large = preset(tmp_path / "large.yaml", model=LARGE, crop=8)
    with pytest.raises(UserError, match="has another shape than the preset's model"):
        train_super_resolution_command(**paths, init=Path("bundled"), preset=large)
    Autoencoder(AutoencoderConfig(**STAGE)).save(tmp_path / "stage")
    with pytest.raises(UserError, match="is of other latents than those of --first-stage"):
        paths["run"] = tmp_path / "between"
        train_interpolation_command(**paths, init=Path("bundled"), first_stage=tmp_path / "stage")


def test_the_stages_have_short_names_too() -> None:
    commands = typer.main.get_command(app).commands["train"].commands  # pyright: ignore
    for name, alias in (("super-resolution", "superres"), ("interpolation", "interpolate")):
        assert commands[alias].hidden and not commands[name].hidden
        assert [option.name for option in commands[alias].params] == [o.name for o in commands[name].params]
