"""Image models that move by the bundled temporal layers."""

from pathlib import Path

import pytest
import torch

from core.bundled import BUNDLED, BUNDLED_VIDEO
from core.errors import UserError
from core.models.image_model import ImageModel, ImageModelConfig
from core.nn.unet import UNetConfig
from video.motion_transfer import load_moving
from video.video_model import VideoModel


def test_the_bundled_image_model_moves_as_the_bundled_video_model() -> None:
    moving, video = load_moving(BUNDLED / "image"), VideoModel.load(BUNDLED_VIDEO)
    video.weak = None  # an image model's weak version is not trained on clips
    options = {"prompts": ["a fox waving"], "frames": 3, "steps": 1, "azimuth": 30.0, "elevation": 10.0}
    assert torch.equal(moving.sample(**options), video.sample(**options))


def test_a_folder_of_a_video_model_is_loaded_as_it_is() -> None:
    loaded, video = load_moving(BUNDLED_VIDEO), VideoModel.load(BUNDLED_VIDEO)
    assert loaded.config == video.config and loaded.weak
    for one, other in zip(loaded.denoiser.parameters(), video.denoiser.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_image_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    config = ImageModelConfig(size=16, network=UNetConfig(widths=(32,), blocks=(1,), attention=(True,)))
    ImageModel(config, config.denoiser()).save(tmp_path / "image")
    with pytest.raises(UserError, match="draws images, and only models trained from the bundled one move"):
        load_moving(tmp_path / "image")


def test_what_is_no_model_is_reported_by_the_loading_of_video_models(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no model in"):
        load_moving(tmp_path / "nothing")
