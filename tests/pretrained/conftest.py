"""The tiny checkpoints, written once per session."""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pretrained import checkpoints
from tests.pretrained.pipeline_checkpoints import VIDEO
from video.cli import main


@pytest.fixture(scope="session")
def sd_eps(tmp_path_factory) -> Path:
    return checkpoints.stable_diffusion(tmp_path_factory.mktemp("sd-eps"))


@pytest.fixture(scope="session")
def sd_v(tmp_path_factory) -> Path:
    return checkpoints.stable_diffusion(tmp_path_factory.mktemp("sd-v"), "v_prediction")


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory) -> Path:
    return checkpoints.sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="session")
def deepfloyd(tmp_path_factory) -> Path:
    return checkpoints.deepfloyd(tmp_path_factory.mktemp("deepfloyd"))


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory) -> Callable[[str], Path]:
    """Function from a name in `VIDEO` to the folder of that checkpoint."""
    return cache(lambda name: VIDEO[name](tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="session")
def moving(tmp_path_factory) -> Path:
    """A folder of four clips of 9 frames at 8 a second: a bright square moves to the left or to the right."""
    folder = tmp_path_factory.mktemp("moving")
    for number in range(4):
        right = number % 2
        frames = []
        for frame in range(9):
            pixels = np.full((64, 64, 3), 40 * number, np.uint8)
            left = 4 * frame if right else 48 - 4 * frame
            pixels[8 * number : 8 * number + 20, left : left + 16] = (255, 200, 40 * number)
            frames.append(Image.fromarray(pixels))
        name = f"a square moves {'right' if right else 'left'} {number}.gif"
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=125)
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder of six pictures in two colors, with a caption for each color."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(6):
        color = (230, 30 * number, 20) if number % 2 else (20, 30 * number, 230)
        Image.new("RGB", (80, 64), color).save(folder / f"{'red' if number % 2 else 'blue'} {number}.png")
    return folder


GenVideo = Callable[..., tuple[int, str]]


@pytest.fixture
def gen_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> GenVideo:
    """Runs `gen-video` in this process, offline, in `tmp_path`; returns its exit code and what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "400")  # sentences are not folded

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code: object = 0
        with monkeypatch.context() as words:
            words.setattr(sys, "argv", ["gen-video", *map(str, arguments)])
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
        captured = capsys.readouterr()
        assert isinstance(code, int)
        return code, captured.out + captured.err

    return run
