"""What the bundled model recognizes in true renders of scenes that are known."""

import pytest
import torch

from core.bundled import BUNDLED
from core.toybox.scene_views import SceneView, render_scene_views
from core.toybox.scenes import named_scene
from video.sampling.recognition import describe
from video.video_model import VideoModel


@pytest.fixture(scope="module")
def model() -> VideoModel:
    return VideoModel.load(BUNDLED / "video")


@pytest.mark.parametrize(
    ("scene", "prompt", "azimuth"),
    [
        (("panda", "on a swing", "green", "on a beach"), "a panda on a swing", 10.0),
        (("robot", "waving", "red", "on a yellow background"), "a robot waving", -50.0),
    ],
)
def test_place_color_and_camera_of_a_render(model: VideoModel, scene, prompt: str, azimuth: float) -> None:
    pixels = render_scene_views([SceneView(named_scene(*scene), 0.2, azimuth, 13.0)]).pixels
    frames = torch.from_numpy(pixels).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    seen = model.recognize(prompt, frames)
    assert seen.place == scene[3]
    assert abs(seen.azimuth - azimuth) <= 15
    assert seen.color == ("green" if scene[1] == "on a swing" else None)
    known = model.recognize(f"{prompt} on a pink background", frames, camera=(0.0, 13.0))
    assert known.place is None and known.azimuth == 0.0


def test_descriptions_add_what_is_open() -> None:
    assert describe("a panda on a swing", "red", "on a beach") == "a panda on a red swing on a beach"
    assert describe("a panda on a blue swing", "red") == "a panda on a blue swing"
    assert describe("a panda in the rain", "red", "on a beach") == "a panda in the rain"
