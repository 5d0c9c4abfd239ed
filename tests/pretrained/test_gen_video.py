"""`gen-video` on checkpoints in diffusers' layouts, offline, as a subprocess."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors import safe_open

from core.io.pictures import to_frames
from core.io.sheet import contact_sheet
from tests.pretrained.motion_checkpoints import motion_adapter
from video.options import ClipOptions, ClipRequest
from video.pipelines.checkpoint_reference import checkpoint_reference
from video.record import CheckpointRecord, RunRecord

Command = Callable[..., "subprocess.CompletedProcess[str]"]

# checkpoint, width, frames, whether it takes an image
CASES = [
    ("wan", 32, 5, False),
    ("wan-2.2", 32, 5, True),
    ("wan-image", 32, 5, True),
    ("ltx", 64, 9, True),
    ("cogvideox", 48, 9, False),
    ("cogvideox-image", 48, 9, True),
    ("modelscope", 32, 3, False),
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def sample_frames(model: Path, options: ClipOptions, seed: int) -> np.ndarray:
    """Frames of "a fox" from the same model without the command."""
    loaded = checkpoint_reference(str(model)).open(options, torch.device("cpu"), force=True)
    return to_frames(loaded.sample([ClipRequest("a fox", seed, options)], lambda state: None)[0].numpy())


def check_files(folder: Path, frames: np.ndarray) -> RunRecord:
    """Asserts that the folder has the run's files and that they show the frames; returns the record."""
    assert {"a-fox.gen-video.json", "a-fox.mp4", "a-fox.sheet.png"} == {
        n for n in os.listdir(folder) if n.startswith("a-fox")
    }
    with Image.open(folder / "a-fox.sheet.png") as sheet:  # lossless
        shown, expected = (np.asarray(each, np.int16) for each in (sheet, contact_sheet(frames, "a fox")))
    # Another number of threads adds in another order, so a pixel may be rounded differently.
    assert shown.shape == expected.shape and np.abs(shown - expected).max() <= 2
    assert iio.imread(folder / "a-fox.mp4").shape == frames.shape
    record = RunRecord.model_validate_json((folder / "a-fox.gen-video.json").read_text())
    assert isinstance(record.model, CheckpointRecord) and record.gflop is not None
    return record


@pytest.mark.parametrize(("name", "width", "frames", "with_image"), CASES)
def test_a_clip_of_each_family(
    command: Command,
    video_folder: Callable[[str], Path],
    tmp_path: Path,
    picture: Path,
    name: str,
    width: int,
    frames: int,
    with_image: bool,
) -> None:
    folder = video_folder(name)
    image = ["--image", picture] if with_image else []
    result = command(
        "gen-video", "a fox", "--model", folder, "--steps", 3, "--frames", frames, "--width", width,
        "--height", 32,
        "--seed", 3, "--negative", "rain", "--device", "cpu", "--no-tiling", *image,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("A clip needs about 0.0 GiB and ") and result.stderr.count("\n") == 2
    record = check_files(
        tmp_path,
        sample_frames(
            folder, record_of(tmp_path).options.with_changes(image=picture if with_image else None), 3
        ),
    )
    assert record.preset == name and record.seed == 3 and record.size == (width, 32)
    assert record.options.guidance == {"ltx": 3.0, "modelscope": 9.0}.get(name, 6.0 if "cog" in name else 5.0)


def record_of(folder: Path) -> RunRecord:
    return RunRecord.model_validate_json((folder / "a-fox.gen-video.json").read_text())


@pytest.mark.parametrize("kind", ["sd_eps", "sdxl"])
def test_image_model_with_a_motion_adapter(
    kind: str, request: pytest.FixtureRequest, command: Command, tmp_path: Path, picture: Path
) -> None:
    folder = request.getfixturevalue(kind)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    version = "v3" if kind == "sd_eps" else "sdxl"
    motion = motion_adapter(tmp_path / "motion", version, unet)
    image = ["--image", picture] if kind == "sd_eps" else []
    result = command(
        "gen-video", "a fox", "--model", folder, "--motion", motion, "--steps", 3, "--frames", 4,
        "--width", 32, "--height", 32, "--device", "cpu", *image,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("A clip needs about 0.0 GiB and ") and result.stderr.count("\n") == 2
    record = check_files(tmp_path, sample_frames(folder, record_of(tmp_path).options, 0))
    assert record.preset == ("animatediff" if kind == "sd_eps" else "animatediff-sdxl")
    assert isinstance(record.model, CheckpointRecord)
    assert "motion/diffusion_pytorch_model.safetensors" in record.model.sha256


def test_image_model_without_a_motion_adapter(command: Command, tmp_path: Path, sd_v: Path) -> None:
    result = command(
        "gen-video",
        "a fox",
        "--model",
        sd_v,
        "--motion",
        "none",
        "--steps",
        2,
        "--frames",
        2,
        "--device",
        "cpu",
    )
    assert result.returncode == 0, result.stderr
    record = check_files(tmp_path, sample_frames(sd_v, record_of(tmp_path).options, 0))
    assert record.size == (64, 64)  # the checkpoint's own


def test_a_failed_decoding_can_be_resumed(
    command: Command, video_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    arguments = ["a fox", "--model", video_folder("wan"), "--steps", 3, "--frames", 5]
    arguments += ["--width", 32, "--height", 32, "--device", "cpu"]
    whole = command("gen-video", *arguments, "--out", "whole.mp4")
    assert whole.returncode == 0, whole.stderr
    assert not list(tmp_path.glob("*.safetensors"))

    spoil = "import diffusers, torch; diffusers.AutoencoderKLWan.decode = lambda *a, **k: torch.empty(10**15)"
    code = spoil + "; import sys; sys.argv[0] = 'gen-video'; from video.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", code, *map(str, arguments), "--out", "later.mp4", "--force"]
    failed = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert failed.returncode == 2 and "Out of memory on cpu: the sampled latents are in" in failed.stderr
    with safe_open(tmp_path / "later.latents.safetensors", "pt") as file:
        assert json.loads(file.metadata()["request"])["prompt"] == "a fox"
    assert not (tmp_path / "later.mp4").exists()

    other = command("gen-video", *arguments, "--out", "later.mp4", "--resume", "--seed", 1)
    assert other.returncode == 2 and "were made with another seed" in other.stderr
    resumed = command("gen-video", *arguments, "--out", "later.mp4", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "later.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert not list(tmp_path.glob("*.safetensors"))
    assert (
        RunRecord.model_validate_json((tmp_path / "later.gen-video.json").read_text()).gflop is None
    )  # not sampled
