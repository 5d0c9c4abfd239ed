"""Training of every kind and evaluation, on a pretended CUDA device."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from core.models.image_model import ImageModel, ImageModelConfig
from core.nn.unet import UNetConfig
from dream3d.options import ObjectOptions
from dream3d.text_to_3d import start_optimization
from dreamlift.commands import evaluate
from dreamlift.commands.training import train
from dreamlift.commands.training.export import export_command
from dreamlift.commands.training.train_autoencoder import train_autoencoder_command
from dreamlift.commands.training.train_distill import train_distill_command
from dreamlift.commands.training.train_interpolation import train_interpolation_command
from dreamlift.commands.training.train_super_resolution import train_super_resolution_command
from dreamlift.evaluation.evaluate_objects import ObjectEvaluationPlan, ObjectEvaluator
from dreamlift.evaluation.judge import Judge, JudgeConfig
from tests.pretrained import checkpoints
from tests.pretrained.pipeline_checkpoints import VIDEO
from video.video_folder import VideoModelConfig
from video.video_model import VideoModel

pytestmark = pytest.mark.usefixtures("cuda")

TRAINING = {"batch_size": 2, "compile": False, "log_steps": 1, "warmup_steps": 0, "decay": 0.0}
STAGE = {"size": 16, "latent_channels": 4, "widths": [8, 16], "decoder_blocks": [1, 1]}
NETWORK = {"in_channels": 4, "patch": 1, "widths": [32], "blocks": [1], "attention": [True]}
TINY = ImageModelConfig(size=16, network=UNetConfig(widths=(32,), blocks=(1,), attention=(True,)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures and two clips of 20 frames."""
    folder = tmp_path_factory.mktemp("data")
    pixels = np.random.default_rng(0).integers(256, size=(5, 20, 32, 32, 3), dtype=np.uint8)
    for number in range(3):
        Image.fromarray(pixels[number, 0]).save(folder / f"a rug {number}.png")
    for number in range(2):
        frames = [Image.fromarray(frame) for frame in pixels[3 + number]]
        path = folder / f"a moving rug {number}.webp"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=125, lossless=True)
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def preset(path: Path, **values: object) -> str:
    path.write_text(yaml.safe_dump({"training": TRAINING} | values))
    return str(path)


def finite(run: Path) -> bool:
    """Whether a run of two steps has logged finite numbers."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines] == [1, 2] and bool(np.isfinite([x["loss"] for x in lines]).all())


def test_every_model_of_the_project(folder: Path, tmp_path: Path) -> None:
    """In bfloat16 autocast; each run is resumed after its first step."""
    mine, runs = tmp_path / "mine", tmp_path / "runs"
    stage = preset(tmp_path / "stage.yaml", model=STAGE)
    paths = {"data": folder, "run": runs / "stage", "out": mine / "first_stage", "preset": stage}
    train_autoencoder_command(**paths, steps=1)
    train_autoencoder_command(**paths, steps=2, resume=True)

    model = {"size": 16, "network": NETWORK, "clip": None, "first_stage": STAGE}
    images = preset(tmp_path / "image.yaml", model=model, monitoring={"validation": 0.3})
    train.image(folder, runs / "image", preset=images, steps=1, first_stage=mine / "first_stage")
    train.image(folder, runs / "image", steps=2, resume=True)
    export_command(runs / "image", mine / "image")

    clips = preset(tmp_path / "video.yaml", frames=4, image_steps=0.0)
    train.video(folder, runs / "video", mine / "image", preset=clips, steps=1)
    train.video(folder, runs / "video", steps=2, resume=True)
    export_command(runs / "video", mine / "video", mine / "image")

    between = preset(tmp_path / "between.yaml", model={"channels": 4, "widths": [16], "blocks": [1]})
    paths = {"data": folder, "run": runs / "between", "out": mine / "interpolation", "preset": between}
    train_interpolation_command(**paths, first_stage=mine / "image", steps=2)

    large = {"size": 32, "factor": 2, "widths": [16, 16], "blocks": [1, 1]}
    settings = preset(tmp_path / "large.yaml", model=large, crop=8)
    paths = {"data": folder, "run": runs / "large", "out": mine / "super_resolution", "preset": settings}
    train_super_resolution_command(**paths, steps=2)

    for name in ("stage", "image", "video", "between", "large"):
        assert finite(runs / name)
        stored = load_file(runs / name / "checkpoint.safetensors")
        assert all(value.dtype == torch.float32 for value in stored.values() if value.is_floating_point())


@pytest.mark.parametrize("kind", ["image", "motion", "video"])
def test_adapters_of_checkpoints_have_float32_weights(kind: str, folder: Path, tmp_path: Path) -> None:
    """The frozen weights are bfloat16, as by default on a GPU."""
    settings = {"frames": 5 if kind == "video" else 4, "width": 32, "height": 32}
    settings |= {} if kind == "motion" else {"rank": 2}
    chosen, run = preset(tmp_path / "adapter.yaml", **settings), tmp_path / "run"
    model = (
        VIDEO["wan"](tmp_path / "wan") if kind == "video" else checkpoints.stable_diffusion(tmp_path / "sd")
    )
    command = train.image if kind == "image" else train.video
    command(folder, run, model, preset=chosen, steps=1)
    command(folder, run, steps=2, resume=True)
    export_command(run, tmp_path / "adapter")
    assert finite(run)
    stored = load_file(run / "checkpoint.safetensors")
    assert all(value.dtype == torch.float32 for value in stored.values() if value.is_floating_point())
    assert any(value.any() for name, value in stored.items() if "exp_avg" in name)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Folders image, video and judge with random weights."""
    torch.manual_seed(0)
    for config, kind, name in (
        (TINY, ImageModel, "image"),
        (VideoModelConfig(image=TINY), VideoModel, "video"),
    ):
        denoiser = config.denoiser()
        for parameter in denoiser.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        kind(config, denoiser).save(tmp_path / name)
    Judge(JudgeConfig(size=16, widths=(4, 8), hidden=4, motion_width=4)).save(tmp_path / "judge", {})
    return tmp_path


@pytest.mark.parametrize("kind", ["image", "video"])
def test_evaluation(kind: str, models: Path, tmp_path: Path) -> None:
    common = {"judge": models / "judge", "out": tmp_path / "out", "count": 2, "device": "cuda"}
    if kind == "image":
        evaluate.image(models / "image", steps=2, batch=2, **common)
    else:
        evaluate.video(models / "video", steps=2, batch=2, swings=1, **common)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["items"]


def test_evaluated_objects_have_the_guidance_scale_of_the_loss(models: Path, tmp_path: Path) -> None:
    """A preset need not give one."""
    stage = {"share": 1, "size": 16, "samples": 12, "grid": 12}
    options = ObjectOptions.model_validate({"iterations": 1, "learning_rate": 0.01, "stages": [stage]})
    plan = ObjectEvaluationPlan(models / "image", models / "judge", tmp_path, options, 1, 1, 0, "cuda")
    evaluator = ObjectEvaluator(plan)
    assert [each.guidance for each in evaluator.options.stages] == [7.5]
    run = start_optimization(evaluator.loaded.model, "a fox", evaluator.options, seed=0, bundled=True)
    assert all(np.isfinite(state.losses["distillation"]) for state in run)


def test_distillation(models: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shard = {
        "pixels": torch.randint(256, (4, 16, 3, 16, 16), dtype=torch.uint8),
        "caption": torch.zeros(4).long(),
    }
    shard |= {name: torch.rand(4) for name in ("azimuth", "elevation", "phase")}
    save_file(shard | {"shadow": torch.zeros(4).byte()}, tmp_path / "clips-00000.safetensors")
    (tmp_path / "captions.txt").write_text("a fox\n")
    chosen = preset(tmp_path / "distilled.yaml", frames=4)
    out = tmp_path / "distilled"
    train_distill_command(tmp_path, tmp_path / "run", out, models / "video", preset=chosen, steps=2)
    assert finite(tmp_path / "run")
