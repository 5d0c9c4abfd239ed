"""Weak versions of models: folders next to the models that they guide, and what they change in samples."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from core.attributes import encode_attributes
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.guidance import ClassifierFreeGuidance
from core.io.weights import ModelFolder, load_folder
from core.models import image_folder
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.image_model import ImageModel, ImageModelConfig
from core.nn.unet import UNetConfig
from core.samplers import ddim
from video import video_folder
from video.video_folder import VideoModelConfig
from video.video_model import VideoModel

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
    """A folder with an image model, a video model that rests on it, and a smaller image model."""
    for folder, width, base in (("", 64, None), ("weak", 32, tmp_path / "image")):
        new_image_model(image_config(width), stage).save(tmp_path / folder / "image", base)
    image = ImageModel.load(tmp_path / "image")
    config = VideoModelConfig(image=image.config)
    video = VideoModel(config, config.inflate(image.denoiser), first_stage=stage)
    for parameter in video.denoiser.network.temporal.parameters():
        nn.init.normal_(parameter, std=0.1)
    video.save(tmp_path / "video", tmp_path / "image")
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
def test_clips_are_guided_by_the_weak_version_frame_by_frame(models: Path, loop: bool) -> None:
    model, small = VideoModel.load(models / "video"), ImageModel.load(models / "weak" / "image")
    assert model.weak
    clip, t = torch.randn(2, 4, 3, 4, 4), torch.tensor([100, 700])
    condition = small.encode(["a fox", "a cat"], encode_attributes(2, phase=0.5))
    with torch.no_grad():
        frames = [small.denoiser(clip[:, :, frame], t, condition).x0 for frame in range(3)]
        torch.testing.assert_close(model.weak(clip, t, condition).x0, torch.stack(frames, dim=2))

    options = {"frames": 4, "steps": 2, "seeds": [5], "loop": loop}
    by_weak = model.sample(["a fox"], guidance=2.0, **options)
    plain = model.sample(["a fox"], guidance=1.0, **options)
    model.weak = None
    by_itself = model.sample(["a fox"], guidance=2.0, **options)
    torch.testing.assert_close(model.sample(["a fox"], guidance=1.0, **options), plain)
    assert (by_weak - by_itself).abs().max() > 1e-3


def test_the_first_stage_is_stored_once(models: Path) -> None:
    assert b"first_stage." not in (models / "weak" / "image" / "model.safetensors").read_bytes()
    shutil.copytree(models, models.parent / "moved")
    shutil.rmtree(models / "image")
    with pytest.raises(UserError, match="There is no model in .*image"):
        ImageModel.load(models / "weak" / "image")
    ImageModel.load(models.parent / "moved" / "weak" / "image")


def test_no_folder_is_read_twice(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(folder: Path) -> ModelFolder:
        read.append(folder.resolve())
        return load_folder(folder)

    for module in (image_folder, video_folder):
        monkeypatch.setattr(module, "load_folder", counted)
    for kind, load, count in (("image", ImageModel.load, 2), ("video", VideoModel.load, 3)):
        assert load(models / kind).weak
        assert len(read) == len(set(read)) == count
        read.clear()


def test_a_weak_version_of_something_else_is_refused(models: Path, stage: Autoencoder) -> None:
    other = image_config(32, noise_schedule=NoiseSchedule.linear().to_dict())
    new_image_model(other, stage).save(models / "weak" / "image", models / "image")
    with pytest.raises(UserError, match="weak model in .* has another noise schedule"):
        ImageModel.load(models / "image")
    with pytest.raises(UserError, match="weak model in .* has another noise schedule"):
        VideoModel.load(models / "video")

    path = models / "weak" / "image" / "config.json"
    new_image_model(image_config(32), stage).save(path.parent, models / "image")
    config = json.loads(path.read_text())
    config["first_stage"]["widths"] = [8, 8]
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="The model in .*weak/image has another first stage"):
        ImageModel.load(models / "image")

    another = Autoencoder(STAGE).requires_grad_(False)
    another.fit_statistics([torch.rand(4, 3, 16, 16)])
    with pytest.raises(UserError, match="has another first stage"):
        new_image_model(image_config(32), another).save(models / "weak" / "image", models / "image")
    new_image_model(image_config(32), another).save(models / "weak" / "image")
    with pytest.raises(UserError, match="The model in .*weak/image has another first stage"):
        ImageModel.load(models / "image")


def test_a_weak_version_is_exported_anew_after_the_model_that_it_guides(
    models: Path, stage: Autoencoder
) -> None:
    small = ImageModel.load(models / "weak" / "image")
    new_image_model(image_config(64), stage).save(models / "image")
    with pytest.raises(UserError, match="rests on another image model than ../../image"):
        ImageModel.load(models / "image")
    small.save(models / "weak" / "image", models / "image")
    assert ImageModel.load(models / "image").weak
