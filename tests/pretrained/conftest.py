"""The tiny checkpoints, written once a session."""

from pathlib import Path

import pytest

from tests.pretrained import checkpoints


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
