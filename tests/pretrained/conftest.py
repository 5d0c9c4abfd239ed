"""The tiny checkpoints, written once per session."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.pretrained import checkpoints
from tests.pretrained.pipeline_checkpoints import VIDEO


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
