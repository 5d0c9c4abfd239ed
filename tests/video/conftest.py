"""A video model that is real in every way but its size and its sense."""

from pathlib import Path

import pytest
import torch

from core.models.image_model import ImageModelConfig
from core.nn.unet import UNetConfig
from video.video_folder import VideoModelConfig
from video.video_model import VideoModel


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a video model with random weights, for clips of 16x16 pixels."""
    network = UNetConfig(widths=(32,), blocks=(1,), attention=(True,))
    config = VideoModelConfig(image=ImageModelConfig(size=16, network=network))
    torch.manual_seed(0)
    denoiser = config.denoiser()
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("model")
    VideoModel(config, denoiser).save(folder)
    return folder
