"""Folders of video models, and of image models that move by the bundled temporal layers."""

from pathlib import Path

import pytest
import torch

from core.bundled import BUNDLED, BUNDLED_VIDEO
from core.errors import UserError
from core.models.image_model import ImageModel, ImageModelConfig
from core.nn.unet import UNetConfig
from video.video_model import VideoModel


def test_the_bundled_image_model_moves_as_the_bundled_video_model() -> None:
    """With the weak version of both, so that its guidance is in it."""
    moving, video = VideoModel.load(BUNDLED / "image"), VideoModel.load(BUNDLED_VIDEO)
    options = {"prompts": ["a fox waving"], "frames": 3, "steps": 1, "azimuth": 30.0, "elevation": 10.0}
    assert moving.weak and torch.equal(moving.sample(**options), video.sample(**options))


def test_an_image_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    config = ImageModelConfig(size=16, network=UNetConfig(widths=(32,), blocks=(1,), attention=(True,)))
    ImageModel(config, config.denoiser()).save(tmp_path / "image")
    with pytest.raises(UserError, match="draws images, and only models trained from the bundled one move"):
        VideoModel.load(tmp_path / "image")


def test_what_is_no_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no model in"):
        VideoModel.load(tmp_path / "nothing")
