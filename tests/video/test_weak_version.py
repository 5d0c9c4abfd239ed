"""Weak versions of models: folders beside the models that they guide, and what they change in samples."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.guidance import ClassifierFreeGuidance
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.image_model import ImageModel, ImageModelConfig
from core.nn.unet import UNetConfig
from core.samplers import ddim
from video.video_model import VideoModel, VideoModelConfig

STAGE = AutoencoderConfig(size=16, latent_channels=4, widths=(8, 16), decoder_blocks=(1, 1))


def image_config(width: int, **changes) -> ImageModelConfig:
    network = UNetConfig(in_channels=4, patch=1, widths=(width,), blocks=(1,), attention=(True,))
    return ImageModelConfig(size=16, network=network, clip=None, first_stage=STAGE, **changes)


def new_image_model(config: ImageModelConfig, stage: Autoencoder) -> ImageModel:
    denoiser = config.denoiser()
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.1)
    return ImageModel(config, denoiser, first_stage=stage)


@pytest.fixture(scope="module")
def stage() -> Autoencoder:
    torch.manual_seed(0)
    stage = Autoencoder(STAGE).requires_grad_(False)
    for parameter in stage.parameters():
        nn.init.normal_(parameter, std=0.1)
    stage.fit_statistics([torch.rand(4, 3, 16, 16)])
    return stage


@pytest.fixture
def models(stage: Autoencoder, tmp_path: Path) -> Path:
    """A folder with an image and a video model, and a smaller version of both."""
    for folder, width, base in (("", 64, None), ("weak", 32, tmp_path / "image")):
        image = new_image_model(image_config(width), stage)
        image.save(tmp_path / folder / "image", base)
        config = VideoModelConfig(image=image.config)
        video = VideoModel(config, config.inflate(image.denoiser), first_stage=stage)
        for parameter in video.denoiser.network.temporal.parameters():
            nn.init.normal_(parameter, std=0.1)
        video.save(tmp_path / folder / "video", tmp_path / folder / "image")
    return tmp_path


def test_a_model_is_guided_by_the_weak_version_beside_it(models: Path) -> None:
    model, small = ImageModel.load(models / "image"), ImageModel.load(models / "weak" / "image")
    assert model.weak and small.weak is None
    weights = small.denoiser.network.state_dict()
    for name, value in model.weak.network.state_dict().items():
        assert torch.equal(value, weights[name]), name

    options = {"steps": 3, "guidance": 2.0, "seeds": [5], "sampler": "ddim"}
    condition, noise = (
        model.encode(["a fox"]),
        torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(5)),
    )
    guided = ClassifierFreeGuidance(model.denoiser, 2.0, model.encode([""]), weak=small.denoiser)
    timesteps = model.denoiser.schedule.sampling_timesteps(3)
    *_, last = ddim(guided, noise, condition, timesteps=timesteps)
    torch.testing.assert_close(model.sample(["a fox"], **options), model.decode(last.x))
    by_weak = model.sample(["a fox"], **options)
    model.weak = None
    assert (model.sample(["a fox"], **options) - by_weak).abs().max() > 1e-3


@pytest.mark.parametrize("loop", [False, True])
def test_clips_are_guided_by_the_weak_version_of_the_video_model(models: Path, loop: bool) -> None:
    model = VideoModel.load(models / "video")
    options = {"frames": 4, "steps": 2, "seeds": [5], "loop": loop}
    assert model.weak and model.weak.network.temporal
    by_weak = model.sample(["a fox"], guidance=2.0, **options)
    plain = model.sample(["a fox"], guidance=1.0, **options)
    model.weak = model.denoiser
    by_itself = model.sample(["a fox"], guidance=2.0, **options)
    model.weak = None
    torch.testing.assert_close(model.sample(["a fox"], guidance=2.0, **options), by_itself)
    torch.testing.assert_close(model.sample(["a fox"], guidance=1.0, **options), plain)
    assert (by_weak - by_itself).abs().max() > 1e-3


def test_the_first_stage_is_stored_once(models: Path) -> None:
    for name in ("image", "video"):
        stored = (models / "weak" / name / "model.safetensors").read_bytes()
        assert b"first_stage." not in stored
    shutil.copytree(models, models.parent / "moved")
    shutil.rmtree(models / "image")
    with pytest.raises(UserError, match="There is no model in .*image"):
        ImageModel.load(models / "weak" / "image")
    ImageModel.load(models.parent / "moved" / "weak" / "image")


def test_a_weak_version_of_something_else_is_refused(models: Path, stage: Autoencoder) -> None:
    other = image_config(32, noise_schedule=NoiseSchedule.linear().to_dict())
    new_image_model(other, stage).save(models / "weak" / "image", models / "image")
    with pytest.raises(UserError, match="weak model in .* has another noise schedule"):
        ImageModel.load(models / "image")
    shutil.rmtree(models / "weak" / "image")
    with pytest.raises(UserError, match="There is no model in"):
        VideoModel.load(models / "video")

    another = Autoencoder(STAGE).requires_grad_(False)
    another.fit_statistics([torch.rand(4, 3, 16, 16)])
    with pytest.raises(UserError, match="has another first stage"):
        new_image_model(image_config(32), another).save(models / "weak" / "image", models / "image")
    new_image_model(image_config(32), another).save(models / "weak" / "image")
    with pytest.raises(UserError, match="The model in .*weak/image has another first stage"):
        ImageModel.load(models / "image")
