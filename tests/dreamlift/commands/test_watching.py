"""Watching a run from the command line's functions: validation, samples, curves, trackers, broken runs."""

import json
import signal
import sys
from pathlib import Path

import accelerate.tracking
import numpy as np
import pytest
import torch
import yaml
from accelerate.utils import LoggerType
from PIL import Image

from core.command_line.run import run_app
from core.errors import UserError
from core.training import checkpoint
from core.training.monitoring import run_log, samples, validation
from core.training.tasks.images import ImageTask
from dreamlift import cli
from dreamlift.commands.training import train

TRAINING = {"batch_size": 4, "compile": False, "log_steps": 1, "warmup_steps": 0, "decay": 0.0}
MODEL = {"size": 8, "network": {"patch": 2, "widths": [32], "blocks": [1], "attention": [True]}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pictures, and four clips of 24 frames, which are two windows each."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "my data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, name in enumerate("abcdefghij"):
        Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(
            folder / f"rug {name} {number}.png"
        )
    for number in range(4):
        frames = [Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)) for _ in range(24)]
        frames[0].save(folder / f"noise {number}.gif", save_all=True, append_images=frames[1:], duration=125)
    return folder


def preset(path: Path, **values: object) -> str:
    path.write_text(yaml.safe_dump(values))
    return str(path)


def test_a_part_of_a_folder_is_never_trained_on_and_is_watched(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: dict[int, set[bytes]] = {}
    draw = ImageTask.draw

    def spy(self: ImageTask, index: torch.Tensor):
        batch = draw(self, index)
        read.setdefault(len(self), set()).update(image.numpy().tobytes() for image in batch.images)
        return batch

    monkeypatch.setattr(ImageTask, "draw", spy)
    monkeypatch.setattr(samples, "STEPS", 2)
    monkeypatch.setattr(validation, "DRAWN", 48)
    monitoring = {"validation": 0.3, "validation_steps": 3, "sample_steps": 4}
    training = TRAINING | {"batch_size": 24}
    images = preset(
        tmp_path / "image.yaml", model=MODEL, clip_frames=True, training=training, monitoring=monitoring
    )
    run = tmp_path / "run"
    train.image(folder, run, preset=images, steps=8)
    assert sum(read) == 10 + 4 * 2 * 16 and len(read) == 2  # pictures, and the frames of the windows
    trained, validated = read.values()
    assert min(len(trained), len(validated)) > 20 and not trained & validated
    lines = run_log.read(run)
    assert [line["step"] for line in lines if "validation" in line] == [3, 6, 8]
    sheets = sorted(path.name for path in (run / "samples").iterdir())
    assert sheets == ["step-000004.png", "step-000008.png"]
    assert f"{run / 'curves.png'}: loss" in capsys.readouterr().out and (run / "curves.png").is_file()

    clips = preset(
        tmp_path / "video.yaml",
        frames=4,
        strides=[1],
        training=TRAINING,
        monitoring={"validation": 0.25, "validation_steps": 1, "sample_steps": 2},
    )
    moving = tmp_path / "moving"
    train.video(folder, moving, run, preset=clips, steps=2, sample=["a red rug"])
    assert all(line["validation"] > 0 for line in run_log.read(moving))
    with Image.open(moving / "samples" / "step-000002.webp") as clip:
        assert clip.n_frames == 4 and clip.size == (16, 8)  # one prompt, two seeds


def test_small_folders_are_trained_on_as_a_whole(folder: Path, tmp_path: Path) -> None:
    images = preset(tmp_path / "image.yaml", model=MODEL, training=TRAINING)
    train.image(folder, tmp_path / "run", preset=images, steps=2)
    assert all("validation" not in line for line in run_log.read(tmp_path / "run"))
    assert not (tmp_path / "run" / "samples").exists()
    with pytest.raises(UserError, match="--sample is empty"):
        train.image(folder, tmp_path / "other", preset=images, steps=2, sample=[" "])
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("log_steps", [1, 20])
def test_a_loss_that_is_no_number_leaves_the_checkpoint_of_before(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    log_steps: int,
) -> None:
    """At step 15 of 20, whether or not that step is logged."""
    steps, loss = iter(range(1, 21)), ImageTask.loss
    monkeypatch.setattr(
        ImageTask,
        "loss",
        lambda self, *given: loss(self, *given) * (float("nan") if next(steps) == 15 else 1),
    )
    training = TRAINING | {"log_steps": log_steps, "checkpoint_minutes": 0.0}
    images = preset(tmp_path / "image.yaml", model=MODEL, training=training)
    run = tmp_path / "run"
    arguments = ["train", "image", "--data", folder, "--run", run, "--preset", images, "--steps", 20]
    monkeypatch.setattr(sys, "argv", ["dreamlift", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit:
        run_app(cli.app)
    assert exit.value.code == 2
    printed = capsys.readouterr().err
    assert (
        "no longer finite at step 15; the checkpoint of step 14 is kept: lower the learning rate." in printed
    )
    assert checkpoint.kept(run) == "; the checkpoint of step 14 is kept"
    assert all(weight.isfinite().all() for weight in checkpoint.read_ema(run).values())
    steps = iter(range(100, 121))  # which are without fault
    train.image(folder, run, steps=20, resume=True)
    assert checkpoint.kept(run) == "; the checkpoint of step 20 is kept"


def test_a_run_begins_only_once_its_data_are_known_to_fit(folder: Path, tmp_path: Path) -> None:
    run, empty = tmp_path / "run", tmp_path / "empty"
    empty.mkdir()
    large = preset(tmp_path / "large.yaml", model=MODEL, training=TRAINING | {"batch_size": 4000})
    for data, sentence in (
        (empty, "holds no pictures or clips"),
        (folder, "are too few for batches of 4000"),
    ):
        with pytest.raises(UserError, match=sentence):
            train.image(data, run, preset=large, steps=1)
        assert not (run / "preset.json").exists()
    train.image(folder, run, preset=preset(tmp_path / "small.yaml", model=MODEL, training=TRAINING), steps=1)
    assert json.loads((run / "preset.json").read_text())["preset"]["training"]["batch_size"] == 4


def test_sigterm_saves_a_run_and_exits_with_143(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loss = ImageTask.loss

    def terminated(self: ImageTask, *given: object) -> torch.Tensor:
        signal.raise_signal(signal.SIGTERM)
        return loss(self, *given)  # pyright: ignore

    monkeypatch.setattr(ImageTask, "loss", terminated)
    images, run = preset(tmp_path / "image.yaml", model=MODEL, training=TRAINING), tmp_path / "run[b]"
    arguments = ["train", "image", "--data", folder, "--run", run, "--preset", images, "--steps", 20]
    monkeypatch.setattr(sys, "argv", ["dreamlift", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit:
        run_app(cli.app)
    assert exit.value.code == 143
    printed = capsys.readouterr()
    assert f"{run}: stopped; continue with --resume\n" in printed.out
    assert printed.err.endswith("dreamlift: stopped.\n")
    assert checkpoint.kept(run) == "; the checkpoint of step 1 is kept"


WANDB = """
import json
calls = open({path!r}, "a")
def note(name, given):
    calls.write(json.dumps([name, given]) + "\\n")
    calls.flush()
class Run:
    def log(self, values, step=None, **options):
        note("log", [step, values])
    def finish(self):
        note("finish", None)
def init(**options):
    note("init", options)
    return Run()
"""


def test_wandb_gets_what_is_logged(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate's tracker calls a module in the place of wandb, which notes the calls."""
    images = preset(tmp_path / "image.yaml", model=MODEL, training=TRAINING)
    run = tmp_path / "run"
    with pytest.raises(UserError, match="that is not installed: pip install wandb"):
        train.image(folder, run, preset=images, steps=2, track="wandb")
    with pytest.raises(UserError, match="There is no tracker 'abacus': choose tensorboard or wandb"):
        train.image(folder, run, preset=images, steps=2, track="abacus")
    assert not run.exists()
    packages = tmp_path / "packages"
    metadata = packages / "wandb-0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: wandb\nVersion: 0\n")
    (packages / "wandb.py").write_text(WANDB.format(path=str(tmp_path / "calls.jsonl")))
    monkeypatch.syspath_prepend(packages)
    # accelerate looks for packages as it is imported
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [LoggerType.WANDB])
    train.image(folder, run, preset=images, steps=2, track="wandb")
    train.image(folder, run, preset=images, steps=3, track="wandb", resume=True)
    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [name for name, _ in calls] == ["init", "log", "log", "finish", "init", "log", "finish"]
    first, second = (given for name, given in calls if name == "init")
    assert first["id"] == second["id"] and first["resume"] == "allow" and first["project"] == "dreamlift"
    assert first["config"]["training"]["batch_size"] == 4
    logged = [given for name, given in calls if name == "log"]
    assert logged == [[line["step"], line] for line in run_log.read(run)]
    monkeypatch.delitem(sys.modules, "wandb")


def test_tensorboard_reads_what_is_logged(folder: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    images = preset(tmp_path / "image.yaml", model=MODEL, training=TRAINING)
    run = tmp_path / "run"
    train.image(folder, run, preset=images, steps=2, track="tensorboard")
    train.image(folder, run, preset=images, steps=4, track="tensorboard", resume=True)
    events = reader.EventAccumulator(str(run / "dreamlift"))
    events.Reload()
    for name in ("loss", "lr", "gradient"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        expected = [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in run_log.read(run)]
        assert found == expected and len(found) == 4
