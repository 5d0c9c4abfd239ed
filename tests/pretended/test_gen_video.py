"""`gen-video` on pretended devices: the bundled models, and every family of checkpoints."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from torch.nn import functional as F

from core.nn import attention
from tests.pretended.device import PretendedDevice
from tests.pretrained.checkpoints import sdxl, stable_diffusion
from tests.pretrained.motion_checkpoints import motion_adapter
from tests.pretrained.pipeline_checkpoints import VIDEO
from video.cli import main
from video.options import ClipOptions, ClipRequest
from video.pipelines.checkpoint_reference import checkpoint_reference
from video.video_model import VideoModel

# checkpoint, width, frames, dtype, offload
CASES = [
    ("wan", 32, 5, "bfloat16", None),
    ("wan-image", 32, 5, "float32", "layers"),
    ("ltx", 64, 9, "bfloat16", "model"),
    ("ltx", 64, 9, "float32", "group"),
    ("cogvideox", 48, 9, "float32", "model"),
    ("modelscope", 32, 3, "float16", None),
]


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: object) -> dict:
    """Runs the command; returns the record of "a fox"."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["gen-video", "a fox", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    return json.loads((folder / "a-fox.gen-video.json").read_text())


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_all_stages_of_the_bundled_models(
    cuda: PretendedDevice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The video model with its weaker version, frames in between, and super-resolution."""
    record = run(monkeypatch, tmp_path, "--device", "cuda", "--steps", 2, "--frames", 2, "--fps", 16)
    assert record["size"] == [256, 256] and record["device"].startswith("Pretended GPU")
    assert cuda.synchronized > 0  # before the clock was read


@pytest.mark.parametrize("kind", ["cuda", "mps"])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "unipc", "heun"])
def test_every_sampler(
    kind: str,
    sampler: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_model: Path,
) -> None:
    request.getfixturevalue(kind)
    more = ["--eta", 0.5, "--guidance-rescale", 0.5] if sampler == "ddim" else ["--guidance-interval", 0.1, 9]
    common = ["--device", kind, "--model", tiny_model, "--sampler", sampler, "--steps", 2, "--frames", 2]
    assert run(monkeypatch, tmp_path, *common, *more)["options"]["sampler"] == sampler


@pytest.mark.parametrize(
    "arguments",
    [
        ("--frames", 20, "--extension", "guidance"),
        ("--frames", 20, "--extension", "replacement"),
        ("--frames", 4, "--loop"),
        ("--frames", 4, "--image", "picture.png"),
        ("--frames", 4, "--interpolate", "picture.png", "picture.png"),
    ],
)
def test_known_frames_and_windows(
    cuda: PretendedDevice,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_model: Path,
    picture: Path,
    arguments: tuple[object, ...],
) -> None:
    run(monkeypatch, tmp_path, "--device", "cuda", "--model", tiny_model, "--steps", 2, *arguments)


@pytest.mark.parametrize(("name", "width", "frames", "dtype", "offload"), CASES)
def test_every_family_has_the_numbers_of_the_cpu(
    cuda: PretendedDevice,
    tmp_path: Path,
    picture: Path,
    name: str,
    width: int,
    frames: int,
    dtype: str,
    offload: str | None,
) -> None:
    reference = checkpoint_reference(str(VIDEO[name](tmp_path / "checkpoint")))
    given = {"image": picture} if name == "wan-image" else {}
    options = ClipOptions(
        steps=2, guidance=3.0, frames=frames, width=width, height=32, dtype=dtype, fps=8, scale=1, **given
    )
    clips = []
    for device, changed in (("cpu", options), ("cuda", options.with_changes(offload=offload))):
        model = reference.open(changed, torch.device(device), force=True)
        clips.append(model.sample([ClipRequest("a fox", 3, changed)], lambda state: None)[0].float().cpu())
    assert clips[0].shape[-3:] == (frames, 32, width)
    assert (clips[1] - clips[0]).abs().max() < (1e-5 if dtype == "float32" else 0.1)


@pytest.mark.parametrize(("make", "version"), [(stable_diffusion, "v3"), (sdxl, "sdxl")])
def test_motion_adapters(
    cuda: PretendedDevice,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    make: Callable[[Path], Path],
    version: str,
) -> None:
    model = make(tmp_path / "model")
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    motion = motion_adapter(tmp_path / "motion", version, unet)
    record = run(
        monkeypatch, tmp_path, "--model", model, "--motion", motion, "--steps", 2, "--frames", 3,
        "--width", 32, "--height", 32, "--device", "cuda",
    )  # fmt: skip
    assert record["model"]["dtype"] == "bfloat16"


def test_large_batches_of_attention_are_divided(
    cuda: PretendedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA's kernels take 65,535 sequences at most."""
    monkeypatch.setattr(attention, "LARGEST_BATCH", 3)
    batches = []
    kernel = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, *a, **k: batches.append(len(q)) or kernel(q, *a, **k)
    )
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 7, 2, 5, 4, generator=generator)
    mask, bias = torch.rand(7, 5, generator=generator) > 0.2, torch.randn(2, 5, 5, generator=generator)
    mask[:, 0] = True
    for settings in ({}, {"mask": mask}, {"mask": mask, "bias": bias}):
        expected = attention.scaled_dot_product(q, k, v, **settings)
        moved = {name: value.to("cuda") for name, value in settings.items()}
        ours = attention.scaled_dot_product(q.to("cuda"), k.to("cuda"), v.to("cuda"), **moved)
        torch.testing.assert_close(ours.cpu(), expected)
    assert batches == [7, 3, 3, 1] * 3


@pytest.mark.parametrize("message", ["CUDA error: CUBLAS_STATUS_ALLOC_FAILED", "CUDA out of memory"])
def test_too_little_memory_is_one_sentence(
    message: str,
    cuda: PretendedDevice,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(message)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(VideoModel, "sample", fail)
    monkeypatch.setattr(sys, "argv", ["gen-video", "a fox", "--model", str(tiny_model), "--device", "cuda"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("gen-video: Out of memory on cuda: give fewer --frames")
