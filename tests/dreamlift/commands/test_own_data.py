"""Training on a folder of one's own pictures and clips, from the command line's functions to a model."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from core.errors import UserError
from core.models.image_model import ImageModel
from dreamlift.commands.data import data as look
from dreamlift.commands.training import train
from dreamlift.commands.training.export import export_command
from video.video_model import VideoModel

ROOT = Path(__file__).parents[3]
TRAINING = {"batch_size": 4, "compile": False, "log_steps": 1, "warmup_steps": 0, "decay": 0.0}
NETWORK = {"patch": 2, "widths": [32], "blocks": [1], "attention": [True]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pictures, three clips of six frames and a broken file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "my data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(rng.integers(256, size=(12, 9, 3), dtype=np.uint8)).save(
            folder / f"a rug {number}.png"
        )
    for number in range(3):
        frames = [Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)) for _ in range(6)]
        frames[0].save(folder / f"noise {number}.gif", save_all=True, append_images=frames[1:], duration=125)
    (folder / "broken.jpg").write_text("nothing")
    return folder


def preset(path: Path, **values: object) -> str:
    path.write_text(yaml.safe_dump(values))
    return str(path)


def test_a_folder_becomes_an_image_model_and_a_video_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = preset(tmp_path / "image.yaml", model={"size": 8, "network": NETWORK}, training=TRAINING)
    train.image(folder, tmp_path / "run", preset=images, steps=2)
    assert "broken.jpg: it is damaged" in capsys.readouterr().out
    assert not (folder / "captions.txt").exists()  # nothing is written into the user's folder
    export_command(tmp_path / "run", tmp_path / "image")
    model = ImageModel.load(tmp_path / "image")
    assert not model.reads_attributes
    views = [model.sample(["a rug"], steps=2, azimuth=azimuth, elevation=0.0) for azimuth in (0.0, 90.0)]
    assert torch.equal(*views)  # pictures of a folder have no camera

    clips = preset(tmp_path / "video.yaml", frames=4, strides=[1, 2], training=TRAINING)
    train.video(folder, tmp_path / "video-run", tmp_path / "image", preset=clips, steps=2)
    export_command(tmp_path / "video-run", tmp_path / "video", tmp_path / "image")
    video = VideoModel.load(tmp_path / "video")
    assert not video.config.image.reads_attributes
    phases = [video.sample(["noise"], frames=3, steps=1, phase=phase) for phase in (0.0, 0.5)]
    assert torch.equal(*phases)


def test_a_video_model_needs_clips(folder: Path, tmp_path: Path) -> None:
    images = preset(tmp_path / "image.yaml", model={"size": 8, "network": NETWORK}, training=TRAINING)
    train.image(folder, tmp_path / "run", preset=images, steps=1)
    for clip in folder.glob("*.gif"):
        clip.unlink()
    clips = preset(tmp_path / "video.yaml", frames=4, training=TRAINING)
    with pytest.raises(UserError, match="holds no clips"):
        train.video(folder, tmp_path / "video-run", tmp_path / "run", preset=clips, steps=1)


def test_a_look_at_a_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look(folder, size=16, frames=4, sheet=tmp_path / "sheet.png")
    printed = " ".join(capsys.readouterr().out.split())
    for words in (
        "images │ 10",
        "3, cut to 6 windows of 4 frames",
        "9x12 (10), 8x8 (3)",
        "8 (3)",
        "rug (10)",
    ):
        assert words in printed, words
    assert Image.open(tmp_path / "sheet.png").width > 300
    with pytest.raises(UserError, match="no color"):
        look(folder, background="plaid", sheet=tmp_path / "sheet.png")
    with pytest.raises(UserError, match="fit"):
        look(folder, fit="stretch", sheet=tmp_path / "sheet.png")
    with pytest.raises(UserError, match=r"must end in .png"):
        look(folder, sheet=tmp_path / "sheet.jpg")


def test_files_that_no_preparation_has_written_are_not_replaced(folder: Path, tmp_path: Path) -> None:
    sheet, cache = tmp_path / "sheet.png", tmp_path / "prepared"
    sheet.write_text("mine")
    with pytest.raises(UserError, match=r"sheet\.png exists, and is not as an earlier run"):
        look(folder, size=16, frames=4, sheet=sheet, cache=cache)
    assert not list(cache.iterdir())
    look(folder, size=16, frames=4, sheet=sheet, cache=cache, overwrite=True)
    look(folder, size=16, frames=4, sheet=sheet, cache=cache)

    (cache / "images-00007.safetensors").write_text("mine")
    with pytest.raises(UserError, match=r"images-00007\.safetensors is not of an earlier preparation"):
        look(folder, size=16, frames=4, sheet=sheet, cache=cache)
    other = tmp_path / "other"
    other.mkdir()
    (other / "captions.txt").write_text("mine")
    for command in (partial(look, sheet=sheet), partial(train.image, run=tmp_path / "run", steps=1)):
        with pytest.raises(UserError, match=r"captions\.txt is not of an earlier preparation"):
            command(folder, cache=other)
    assert (other / "captions.txt").read_text() == "mine" and not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "log.jsonl", "curves.png"])
def test_a_new_run_does_not_replace_files_of_others(folder: Path, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / name).write_text("mine")
    images = preset(tmp_path / "image.yaml", training=TRAINING)
    with pytest.raises(UserError, match=rf"{name} exists, and there is no preset\.json of its run"):
        train.image(folder, run, preset=images, steps=1)
    assert [path.name for path in run.iterdir()] == [name] and (run / name).read_text() == "mine"


def test_processes_and_parts_of_a_batch_give_the_same_losses(folder: Path, tmp_path: Path) -> None:
    """One process, one that takes its batches in four parts, and two that take theirs in two."""
    model = {"size": 8, "network": NETWORK}
    whole, parts, both = (
        preset(tmp_path / f"{count}.yaml", model=model, training=TRAINING | {"accumulation": count})
        for count in (1, 4, 2)
    )
    train.image(folder, tmp_path / "whole", preset=whole, steps=3)
    train.image(folder, tmp_path / "parts", preset=parts, steps=3)

    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "--", "dreamlift", "train", "image"]  # torchrun has a --run-path of its own
    command += ["--data", str(folder), "--run", "both", "--preset", both]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = partial(subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    done = run([*command, "--steps", "2"])
    assert done.returncode == 0, done.stderr
    assert "trained by 2 processes" in done.stdout and done.stdout.count("both: done") == 1
    again = run([*command, "--steps", "3"])
    assert again.returncode != 0 and "already holds a run" in again.stderr
    resumed = run([*command, "--steps", "3", "--resume"])
    assert resumed.returncode == 0, resumed.stderr

    losses = {
        name: [json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "parts", "both")
    }
    assert len(losses["whole"]) == 3
    for name in ("parts", "both"):
        assert losses[name] == pytest.approx(losses["whole"], rel=1e-4), name
