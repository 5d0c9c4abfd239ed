"""Transparency by the backdrop's color, against the coverage that the toybox renders."""

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.io.clips.formats import TRANSPARENT
from core.io.presets import load_preset
from core.toybox.camera import Camera
from core.toybox.scenes import named_scene, render_scenes
from video.options import ClipOptions
from video.record import RunRecord
from video.sampling.keying import fit_backdrop, remove_backdrop
from video.text_to_video import Clip

NOISE = 0.012  # standard deviation of what a model's backdrop has beside its shade


def test_alpha_and_colors_are_those_that_were_composited() -> None:
    """A fox and a swing, whose frame is near the borders, before backdrops that the completion may choose."""
    scenes = [
        named_scene("fox", "waving", "blue", "on a light blue background"),
        named_scene("panda", "on a swing", "red", "on a green background"),
    ]
    count = 2
    camera = Camera(torch.tensor([20.0] * count * 2), torch.tensor([13.0] * count * 2))
    phase = torch.linspace(0, 0.6, count).repeat(2)
    color, picture = render_scenes(scenes, phase, camera, torch.zeros(2 * count, dtype=torch.bool), size=256)
    noise = NOISE * torch.randn(color.shape, generator=torch.Generator().manual_seed(0))
    frames = ((color + noise).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for clip, least in enumerate((0.98, 0.95)):
        part = slice(clip * count, (clip + 1) * count)
        keyed = remove_backdrop(frames[part]) / 255
        alpha = picture.alpha[part, 0].numpy()
        solid = (alpha > 0.99, alpha < 0.01)
        assert (keyed[..., 3] > 0.5)[solid[0]].mean() > 0.97
        assert (keyed[..., 3] < 0.1)[solid[1]].mean() > 0.995
        ours, theirs = keyed[..., 3] > 0.5, alpha > 0.5
        assert (ours & theirs).sum() > least * (ours | theirs).sum()  # the swing's ropes are thin
        assert np.abs(keyed[..., 3] - alpha).mean() < 0.003
        true = picture.color[part].permute(0, 2, 3, 1).numpy()  # premultiplied
        assert np.abs(keyed[..., :3] * keyed[..., 3:] - true).mean() < 0.01


def test_the_backdrop_is_fitted_beneath_a_figure_that_covers_half_of_it() -> None:
    y, x = np.meshgrid(np.linspace(-1, 1, 60), np.linspace(-1, 1, 90), indexing="ij")
    true = np.stack([0.6 + 0.05 * y, 0.7 - 0.04 * x, 0.8 + 0.03 * x * y], -1)
    colors = np.stack([true] * 2)
    colors[:, 8:55, 15:70] = np.random.default_rng(0).random((2, 47, 55, 3))
    assert np.abs(fit_backdrop((colors * 255).round().astype(np.uint8)) - true).max() < 0.02


def test_a_clip_without_a_plain_backdrop_raises() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="no plain backdrop"):
        remove_backdrop(noise)


def test_a_transparent_clip_is_keyed_as_its_files_show_it() -> None:
    frames = np.full((2, 40, 40, 3), (170, 220, 180), np.uint8)
    frames[:, 10:30, 10:30] = (200, 40, 40)
    options = load_preset("standard", ClipOptions, "gen-video")
    for background, channels in ((None, 3), (TRANSPARENT, 4)):
        changed = options.with_changes(background=background, scale=2)
        clip = Clip(frames, RunRecord.model_construct(options=changed))
        assert clip.enlarged.shape == (2, 80, 80, channels)
    assert clip.enlarged[0, 40, 40].tolist() == [200, 40, 40, 255]
    assert not clip.enlarged[0, :12].any()
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    with pytest.raises(UserError, match="cannot be made transparent: .* Try another --seed"):
        _ = Clip(noise, clip.record).enlarged
