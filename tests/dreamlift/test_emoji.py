"""The bundled emoji model: names say colors, the pictures must show them; all three front doors find it."""

import numpy as np
import pytest
import torch
from PIL import Image

from dreamlift import TextTo3D, TextToImage, TextToVideo

HUES = {"red": 0, "orange": 30, "yellow": 50, "green": 120, "blue": 215, "purple": 275}  # degrees
SEEDS = 3


@pytest.fixture(scope="module")
def emoji() -> TextToImage:
    return TextToImage.from_pretrained("emoji", device="cpu")


def draw(emoji: TextToImage, prompt: str, seed: int) -> Image.Image:
    return emoji(prompt, seed=seed, super_resolution=0).image


def hue(image: Image.Image) -> float:
    """Mean hue in degrees; pixels count by their saturation and value."""
    hsv = np.asarray(image.convert("HSV"), float)
    angle, weight = hsv[..., 0] * (2 * np.pi / 256), hsv[..., 1] * hsv[..., 2]
    return float(np.degrees(np.angle((weight * np.exp(1j * angle)).sum())) % 360)


@pytest.mark.parametrize("thing", ["heart", "circle", "square"])
def test_colors_of_names_are_those_of_pictures_before_white(emoji: TextToImage, thing: str) -> None:
    off, corners = [], []
    for color, expected in HUES.items():
        for seed in range(SEEDS):
            picture = draw(emoji, f"{color} {thing}", seed)
            off.append(abs((hue(picture) - expected + 180) % 360 - 180))
            corners.append(np.asarray(picture)[:3, :3].mean())
    assert np.mean(np.array(off) < 30) >= 0.8, off
    assert np.median(corners) > 235


def test_clips_and_objects_know_the_name(emoji: TextToImage) -> None:
    videos = TextToVideo.from_pretrained("emoji", device="cpu")
    clip = videos("a red heart", num_inference_steps=4, super_resolution=0, seed=0)
    assert abs((hue(Image.fromarray(clip.frames[0])) + 180) % 360 - 180) < 30
    objects = TextTo3D.from_pretrained("emoji", device="cpu").loaded.model
    assert torch.equal(objects.encode(["a red heart"]).tokens, emoji.model.encode(["a red heart"]).tokens)
    weights = (m.denoiser.network.state_dict() for m in (objects, emoji.model))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*(w.values() for w in weights), strict=True))
