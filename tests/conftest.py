"""What several tests share."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from tests import forked_command

ROOT = Path(__file__).parents[1]
MODULES = {"gen-video": "video.cli", "dream3d": "dream3d.cli", "dreamlift": "dreamlift.cli"}

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs inherit an ignored one

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):  # they share the cores
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs one of the project's commands, by name, as a process of its own in `tmp_path`.

    without: modules whose import fails there.
    """

    def run(name: str, *arguments: object, without: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
        words = [*map(str, arguments)]
        if not without:
            return forked_command.run(MODULES[name], [name, *words], tmp_path)
        code = f"import sys; sys.argv[0] = {name!r}; sys.modules |= dict.fromkeys({list(without)!r}); "
        code += f"from {MODULES[name]} import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=tmp_path,
            env=os.environ | forked_command.ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=forked_command.TIMEOUT,
        )

    return run


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch computes in one thread, as `command`'s processes do: sums depend on their order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a video model with random weights, for clips of 16x16 pixels."""
    from core.models.image_model import ImageModelConfig
    from core.nn.unet import UNetConfig
    from video.video_folder import VideoModelConfig
    from video.video_model import VideoModel

    network = UNetConfig(widths=(32,), blocks=(1,), attention=(True,))
    config = VideoModelConfig(image=ImageModelConfig(size=16, network=network))
    torch.manual_seed(0)
    denoiser = config.denoiser()
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("model")
    VideoModel(config, denoiser).save(folder)
    return folder
