"""Upscaling and frame conversion."""

import numpy as np

from core.io.pictures import to_frames, upscale


def test_nearest_upscaling_repeats_pixels() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), np.uint8)
    assert (upscale(frames, 3, "nearest") == frames.repeat(3, 1).repeat(3, 2)).all()


def test_lanczos_interpolates_a_cosine() -> None:
    def wave(pixels: int) -> np.ndarray:
        position = (np.arange(pixels) + 0.5) / pixels  # pixel centers relative to the image width
        return 128 + 100 * np.cos(2 * np.pi * 4 * position)

    frames = np.broadcast_to(wave(48).round().astype(np.uint8)[None, None, :, None], (2, 8, 48, 3))
    upscaled = upscale(np.ascontiguousarray(frames), 5, "lanczos")
    assert upscaled.shape == (2, 40, 240, 3)
    inside = slice(20, -20)  # the wave is not continued beyond the image
    assert np.abs(upscaled[0, 20, inside, 0] - wave(240)[inside]).max() < 3


def test_to_frames_converts_and_clips_values() -> None:
    clip = np.array([-1.5, -1.0, 0.0, 1.0, 2.0]).reshape(1, 5, 1, 1).repeat(3, 0)
    assert to_frames(clip).shape == (5, 1, 1, 3)
    assert to_frames(clip)[:, 0, 0, 0].tolist() == [0, 0, 128, 255, 255]
