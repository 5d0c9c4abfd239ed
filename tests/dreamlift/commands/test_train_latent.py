"""Tests of `dreamlift train` on latents: autoencoder, latent image model and latent video model."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.models.autoencoder import Autoencoder
from core.models.image_model import ImageModel, decode_latents
from core.models.perceptual import FeatureExtractor, FeatureExtractorConfig
from core.training import checkpoint
from core.training.tasks.features import LABELS
from dreamlift.commands.training import train
from dreamlift.commands.training.export import export_command
from dreamlift.commands.training.train_autoencoder import (
    encode_command,
    swap_decoder_command,
    train_autoencoder_command,
    train_features_command,
)
from video.video_model import VideoModel

TRAINING = {"batch_size": 4, "compile": False, "log_steps": 1, "warmup_steps": 0}
STAGE = {"size": 16, "latent_channels": 4, "widths": [8, 16], "decoder_blocks": [1, 1]}
NETWORK = {"in_channels": 4, "patch": 1, "widths": [32], "blocks": [1], "attention": [True]}
MODEL = {"size": 16, "network": NETWORK, "clip": None, "first_stage": STAGE}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    torch.manual_seed(0)
    for name, count, shape in (("images", 12, (3, 16, 16)), ("clips", 5, (4, 3, 16, 16))):
        shard = {
            "pixels": torch.randint(256, (count, *shape), dtype=torch.uint8),
            "caption": torch.arange(count) % 2,
            "azimuth": torch.rand(count) * 360,
            "elevation": torch.rand(count) * 30,
            "phase": torch.rand(count),
            "shadow": torch.zeros(count, dtype=torch.uint8),
            **{name: torch.arange(count) % 3 for name in LABELS},
        }
        save_file(shard, folder / f"{name}-00000.safetensors")
    (folder / "captions.txt").write_text("a panda on a swing\na fox\n")
    return folder


def preset(folder: Path, **values: object) -> str:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({"training": TRAINING} | values))
    return str(path)


@pytest.fixture(scope="module")
def stage(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an autoencoder trained for two steps; its run folder is next to it."""
    folder = tmp_path_factory.mktemp("stage")
    tiny = preset(folder, model=STAGE, held_back=3)
    train_autoencoder_command(data, folder / "run", folder / "model", preset=tiny, steps=1)
    train_autoencoder_command(data, folder / "run", folder / "model", steps=2, resume=True)
    return folder / "model"


@pytest.fixture(scope="module")
def image_run(data: Path, stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    tiny = preset(folder, model=MODEL)
    train.image(data, folder / "run", preset=tiny, steps=1, first_stage=stage)
    train.image(data, folder / "run", steps=2, resume=True)  # a resumed run needs no --first-stage
    return folder / "run"


def test_autoencoder_training_exports_the_averaged_weights(stage: Path) -> None:
    autoencoder = Autoencoder.load(stage)
    averaged = checkpoint.read_ema(stage.parent / "run")
    for name, value in autoencoder.state_dict().items():
        if not name.startswith("latent_"):  # the statistics are computed at the end
            assert torch.equal(value, averaged[name].half().float()), name
    notes = json.loads((stage / "config.json").read_text())["training"]
    assert notes["images"] == 9 and notes["held_back"] == 3 and notes["samples"] == 8
    assert 0 < notes["psnr"] < 20  # noise cannot be learned in two steps


def test_latent_training_exports_models_that_sample(
    data: Path, stage: Path, image_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fingerprint = Autoencoder.load(stage).fingerprint
    before = (data / f"latents-{fingerprint}-images-00000.safetensors").stat().st_mtime_ns
    encode_command(data, stage)
    assert (data / f"latents-{fingerprint}-images-00000.safetensors").stat().st_mtime_ns == before
    assert f"latents of 12, 5 ({fingerprint})" in capsys.readouterr().out

    export_command(image_run, tmp_path / "image")
    image = ImageModel.load(tmp_path / "image")
    assert image.first_stage and image.first_stage.fingerprint == fingerprint
    assert image.sample(["a fox"], steps=2).shape == (1, 3, 16, 16)

    tiny = preset(tmp_path, frames=2, image_steps=0.5)
    train.video(data, tmp_path / "run", image_run, preset=tiny, steps=1)
    train.video(data, tmp_path / "run", steps=2, resume=True)
    export_command(tmp_path / "run", tmp_path / "video", tmp_path / "image")
    video = VideoModel.load(tmp_path / "video")
    assert video.first_stage and video.first_stage.fingerprint == fingerprint
    assert video.sample(["a fox"], frames=2, steps=2).shape == (1, 3, 2, 16, 16)
    export_command(tmp_path / "run", tmp_path / "inside", image_layers=True)
    assert ImageModel.load(tmp_path / "inside").first_stage


def test_latent_training_starts_from_another_run_and_its_first_stage(
    data: Path, image_run: Path, tmp_path: Path
) -> None:
    still = TRAINING | {"learning_rate": 1e-12, "weight_decay": 0.0}
    tiny = preset(tmp_path, model=MODEL, training=still)
    train.image(data, tmp_path / "run", image_run, preset=tiny, steps=1)
    before = checkpoint.read_ema(image_run)
    for name, value in checkpoint.read_ema(tmp_path / "run").items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def decoder(data: Path, stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an autoencoder: the encoder of `stage`, its decoder trained further in a resumed run."""
    folder = tmp_path_factory.mktemp("decoder")
    tiny = preset(folder, model=STAGE, held_back=3)
    paths = {"data": data, "run": folder / "run", "out": folder / "model"}
    train_autoencoder_command(**paths, init=stage, decoder_only=True, preset=tiny, steps=1)
    train_autoencoder_command(**paths, steps=2, resume=True)  # decoder_only is stored in the run
    return folder / "model"


def test_decoder_only_training_changes_only_the_decoder(stage: Path, decoder: Path) -> None:
    before, after = load_file(stage / "model.safetensors"), load_file(decoder / "model.safetensors")
    assert before.keys() == after.keys()
    for name, value in after.items():
        biases = name.endswith("bias")  # a bias may change by less than float16 resolves
        assert torch.equal(value, before[name]) or name.startswith("decoder."), name
        assert not torch.equal(value, before[name]) or not name.startswith("decoder.") or biases, name
    assert Autoencoder.load(decoder).fingerprint == Autoencoder.load(stage).fingerprint


def test_swapped_decoder_is_used_by_image_and_video_models(
    data: Path, image_run: Path, decoder: Path, tmp_path: Path
) -> None:
    export_command(image_run, tmp_path / "image")
    swap_decoder_command(tmp_path / "image", decoder, tmp_path / "swapped")
    before, after = ImageModel.load(tmp_path / "image"), ImageModel.load(tmp_path / "swapped")
    for name, value in before.denoiser.state_dict().items():
        assert torch.equal(value, after.denoiser.state_dict()[name])
    latents = torch.randn(1, 4, 4, 4)
    assert torch.equal(after.decode(latents), decode_latents(latents, Autoencoder.load(decoder)))
    assert not torch.equal(after.decode(latents), before.decode(latents))

    tiny = preset(tmp_path, frames=2, image_steps=0.5)
    train.video(data, tmp_path / "run", image_run, preset=tiny, steps=1)
    export_command(tmp_path / "run", tmp_path / "video", tmp_path / "image")
    swap_decoder_command(tmp_path / "video", decoder, tmp_path / "swapped-video", base=tmp_path / "swapped")
    swapped = VideoModel.load(tmp_path / "swapped-video")
    assert torch.equal(swapped.decode(latents[:, :, None])[:, :, 0], after.decode(latents))
    stored = load_file(tmp_path / "swapped-video" / "model.safetensors")
    assert not any(name.startswith("first_stage") for name in stored)  # shared with the image model


def test_invalid_decoder_training_and_swaps_raise_user_errors(
    data: Path, stage: Path, image_run: Path, decoder: Path, tmp_path: Path
) -> None:
    tiny = preset(tmp_path, model=STAGE, held_back=3)
    out = tmp_path / "out"
    with pytest.raises(UserError, match="needs a trained autoencoder"):
        train_autoencoder_command(data, tmp_path / "none", out, decoder_only=True, preset=tiny, steps=1)
    with pytest.raises(UserError, match="trains the encoder too"):
        train_autoencoder_command(data, stage.parent / "run", out, decoder_only=True, steps=3, resume=True)
    wider = preset(tmp_path, model=STAGE | {"decoder_blocks": [1, 2]}, held_back=3)
    with pytest.raises(UserError, match="has another shape than the preset's model"):
        train_autoencoder_command(data, tmp_path / "wider", out, init=image_run, preset=wider, steps=1)

    export_command(image_run, tmp_path / "image")
    other = Autoencoder.load(decoder)
    other.latent_mean += 1.0
    other.save(tmp_path / "other")
    with pytest.raises(UserError, match="makes other latents than the model"):
        swap_decoder_command(tmp_path / "image", tmp_path / "other", out)
    with pytest.raises(UserError, match="--base is for video models"):
        swap_decoder_command(tmp_path / "image", decoder, out, base=tmp_path / "image")


def test_vq_autoencoder_training_and_a_model_on_its_latents(data: Path, tmp_path: Path) -> None:
    quantized = STAGE | {"bottleneck": "vq", "codes": 8}
    tiny = preset(tmp_path, model=quantized, held_back=3)
    for name, pauses in (("whole", [3]), ("resumed", [2, 3])):
        paths = {"data": data, "run": tmp_path / name / "run", "out": tmp_path / name / "model"}
        for steps in pauses:
            train_autoencoder_command(**paths, preset=tiny, steps=steps, resume=True)
    stage = tmp_path / "whole" / "model"
    files = [tmp_path / name / "model" / "model.safetensors" for name in ("whole", "resumed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    notes = json.loads((stage / "config.json").read_text())["training"]
    assert 1 <= notes["perplexity"] <= 8

    paths = {"data": data, "run": tmp_path / "decoder" / "run", "out": tmp_path / "decoder" / "model"}
    train_autoencoder_command(**paths, init=stage, decoder_only=True, preset=tiny, steps=2)
    assert Autoencoder.load(paths["out"]).fingerprint == Autoencoder.load(stage).fingerprint

    tiny = preset(tmp_path, model=MODEL | {"first_stage": quantized})
    train.image(data, tmp_path / "image", preset=tiny, steps=2, first_stage=stage)
    export_command(tmp_path / "image", tmp_path / "model")
    swap_decoder_command(tmp_path / "model", paths["out"], tmp_path / "swapped")
    assert ImageModel.load(tmp_path / "swapped").sample(["a fox"], steps=2).shape == (1, 3, 16, 16)


def test_autoencoder_with_perceptual_and_adversarial_losses(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = preset(tmp_path, model={"widths": [8, 16]}, held_back=3)
    features, run = tmp_path / "features", tmp_path / "run"
    train_features_command(data, tmp_path / "features-run", features, preset=small, steps=1)
    train_features_command(data, tmp_path / "features-run", features, steps=2, resume=True)
    assert "subject" in capsys.readouterr().out

    adversary = {"network": {"widths": [8]}, "start": 0.5}
    rich = preset(tmp_path, model=STAGE, held_back=3, perceptual_weight=0.5, adversary=adversary)
    with pytest.raises(UserError, match="name the folder of the features"):
        train_autoencoder_command(data, tmp_path / "missing", tmp_path / "out", preset=rich, steps=1)
    paths = {"data": data, "run": run, "out": tmp_path / "model"}
    train_autoencoder_command(**paths, perceptual=features, preset=rich, steps=3)
    train_autoencoder_command(**paths, steps=4, resume=True)  # the features are stored in the run
    assert Autoencoder.load(tmp_path / "model").config.size == 16

    FeatureExtractor(FeatureExtractorConfig(widths=(8, 16))).save(tmp_path / "other")
    with pytest.raises(UserError, match="started with other features"):
        train_autoencoder_command(**paths, perceptual=tmp_path / "other", steps=5, resume=True)
    plain = preset(tmp_path, model=STAGE, held_back=3)
    with pytest.raises(UserError, match="has no perceptual_weight"):
        train_autoencoder_command(
            data, tmp_path / "plain", tmp_path / "out", perceptual=features, preset=plain, steps=1
        )


def test_missing_and_mismatched_first_stages_raise_user_errors(
    data: Path, stage: Path, tmp_path: Path
) -> None:
    tiny = preset(tmp_path, model=MODEL)
    with pytest.raises(UserError, match="works on latents: name .* with --first-stage"):
        train.image(data, tmp_path / "missing", preset=tiny, steps=1)
    wider = preset(tmp_path, model=MODEL | {"first_stage": STAGE | {"widths": [8, 24]}})
    with pytest.raises(UserError, match="has another shape"):
        train.image(data, tmp_path / "wider", preset=wider, steps=1, first_stage=stage)
    pixels = preset(tmp_path, model={"size": 16, "network": NETWORK | {"in_channels": 3}})
    with pytest.raises(UserError, match="works on pixels"):
        train.image(data, tmp_path / "pixels", preset=pixels, steps=1, first_stage=stage)

    tiny = preset(tmp_path, model=MODEL)
    train.image(data, tmp_path / "run", preset=tiny, steps=1, first_stage=stage)
    other = Autoencoder.load(stage)
    other.latent_mean += 1.0
    other.save(tmp_path / "other")
    with pytest.raises(UserError, match="started with another first stage"):
        train.image(data, tmp_path / "run", steps=2, resume=True, first_stage=tmp_path / "other")
    with pytest.raises(UserError, match="trains the autoencoder: that command writes its model itself"):
        export_command(stage.parent / "run", tmp_path / "out")
