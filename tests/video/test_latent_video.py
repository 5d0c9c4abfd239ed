"""Video models on latents: clips of pixels, and folders that store the first stage once."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.image_model import ImageModel, ImageModelConfig
from core.models.text_encoder import TextEncoder
from core.nn.unet import UNetConfig
from core.samplers import SamplerState
from video.sampling.clip_tensors import frame_by_frame
from video.video_folder import VideoModelConfig
from video.video_model import VideoModel

STAGE = AutoencoderConfig(size=16, latent_channels=4, widths=(8, 16), decoder_blocks=(1, 1))
NETWORK = UNetConfig(in_channels=4, patch=1, widths=(32,), blocks=(1,), attention=(True,))
CONFIG = VideoModelConfig(image=ImageModelConfig(size=16, network=NETWORK, clip=None, first_stage=STAGE))


@pytest.fixture(scope="module")
def image() -> ImageModel:
    torch.manual_seed(0)
    stage = Autoencoder(STAGE).requires_grad_(False)
    denoiser = CONFIG.image.denoiser()
    for module in (stage, denoiser):
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.1)
    stage.fit_statistics([torch.rand(4, 3, 16, 16)])
    return ImageModel(CONFIG.image, denoiser, TextEncoder(), stage)


def test_clips_are_pixels_and_states_are_latents(image: ImageModel) -> None:
    model = VideoModel(CONFIG, CONFIG.inflate(image.denoiser), image.text, image.first_stage)
    states: list[SamplerState] = []
    clip = model.sample(["a fox"], frames=3, steps=2, on_step=states.append)
    assert clip.shape == (1, 3, 3, 16, 16) and clip.abs().max() <= 1 and clip.std() > 0.01
    assert states[-1].x.shape == (1, 4, 3, 4, 4)
    torch.testing.assert_close(model.decode(states[-1].x), clip)
    assert image.first_stage
    frame = image.first_stage.decode(states[-1].x[:, :, 1]).clamp(-1, 1)
    torch.testing.assert_close(clip[:, :, 1], frame)


@pytest.mark.parametrize("apart", [False, True])
def test_a_folder_brings_the_first_stage_or_finds_it_in_its_base(
    image: ImageModel, tmp_path: Path, apart: bool
) -> None:
    image.save(tmp_path / "image")
    base = ImageModel.load(tmp_path / "image")
    model = VideoModel(CONFIG, CONFIG.inflate(base.denoiser), image.text, base.first_stage)
    model.save(tmp_path / "video", tmp_path / "image" if apart else None)
    loaded = VideoModel.load(tmp_path / "video")
    assert loaded.config == CONFIG and loaded.first_stage and base.first_stage
    for name, value in base.first_stage.state_dict().items():
        assert torch.equal(loaded.first_stage.state_dict()[name], value), name
    stored = (tmp_path / "video" / "model.safetensors").read_bytes()
    assert (b"first_stage." in stored) != apart
    config = json.loads((tmp_path / "video" / "config.json").read_text())
    assert config["model"]["image"]["first_stage"]["widths"] == [8, 16]


def test_a_model_without_the_first_stage_of_its_config(image: ImageModel) -> None:
    with pytest.raises(ValueError, match="not the one of the config"):
        VideoModel(CONFIG, CONFIG.inflate(image.denoiser), image.text)


def test_frame_by_frame_calls_the_function_once_with_every_frame_in_order() -> None:
    clips = torch.arange(2 * 3 * 4, dtype=torch.float32).reshape(2, 1, 3, 2, 2)
    seen = []
    doubled = frame_by_frame(lambda frames: seen.append(frames) or 2 * frames.repeat(1, 3, 1, 1), clips)
    assert len(seen) == 1 and torch.equal(seen[0][:, 0].flatten(), clips.flatten())
    assert doubled.shape == (2, 3, 3, 2, 2)
    assert torch.equal(doubled[1, 2, 1], 2 * clips[1, 0, 1])
