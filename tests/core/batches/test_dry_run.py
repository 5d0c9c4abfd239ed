"""--dry-run: what it prints is what the run makes, with the same refusals, and it writes nothing."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import dream3d.cli
import dreamlift.cli
import video.cli
from core.command_line.reporting import report_as
from core.io.files.output_set import claim
from video.cli import gen_video
from video.job import CLIP

MAINS = {"gen-video": video.cli.main, "dream3d": dream3d.cli.main, "dreamlift": dreamlift.cli.main}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Exit code, stdout and stderr of a command in an empty folder, which may read no weights."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patches, pytest.raises(SystemExit) as stop:
            patches.setattr(sys, "argv", [*arguments])
            patches.setattr("core.io.machine.matmul_rate", lambda *_, **__: 10.0)
            patches.setattr("dream3d.dry_run.matmul_rate", lambda *_, **__: 10.0)
            patches.setattr("safetensors.torch.load_file", None)
            patches.setattr("core.io.weights.load_folder", None)
            MAINS[arguments[0]]()
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capsys.readouterr()

    return run


def test_the_files_and_their_options_are_those_of_the_run(
    run: Run, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(tiny_model), "--steps", "2", "--frames", "3", "--scale", "2", "--num", "2"]
    words += ["--tier", "exact"]
    code, out, err = run("gen-video", "a fox", *words, "--out", "new/", "--dry-run", "--json")
    assert code == 0 and not any(tmp_path.iterdir())
    planned = [json.loads(line) for line in out.splitlines()]
    assert err.startswith(f"Nothing was made. With the model {tiny_model} this would take about ")
    assert " GiB of memory (" in err and err.count("\n") == 1
    _, paths, _ = run("gen-video", "a fox", *words, "--out", "new/", "--dry-run", "--quiet")
    with report_as(quiet=False, as_json=True):
        gen_video(
            "a fox", model=str(tiny_model), steps=2, frames=3, scale=2, num=2, out="new/", preview=False
        )  # pyright: ignore
    made = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert paths.splitlines() == [each["file"] for each in made]
    for before, after in zip(planned, made, strict=True):
        same = ("file", "files", "prompt", "seed", "frames", "fps", "width", "height")
        assert [before[name] for name in same] == [after[name] for name in same]
        assert before["dry_run"] and before["memory"] > 2**28 and before["disk"] > 1000
        # 3 frames of 2 steps and 3.5 for decoding, at 4.3 GFLOP each and 10 GFLOP/s
        assert before["seconds"] == pytest.approx(3 * (2 + 3.5) * 4.3 / 10, abs=0.05)


def test_objects_and_images_are_printed_in_words(run: Run, tmp_path: Path) -> None:
    code, out, err = run("dream3d", "a fox", "--dry-run", "--num", "25", "--preset", "draft")
    assert code == 0 and not any(tmp_path.iterdir())
    assert out.splitlines()[1].startswith(
        "a-fox-2.obj: preset draft, 120 iterations of x0, up to 12000 faces"
    )
    assert len(out.splitlines()) == 20 and err.startswith("... and 5 more.\nNothing was made.")
    assert "about 4 h" in err  # 25 x (120 + 60) x 33 GFLOP at 10 GFLOP/s
    code, out, err = run("dreamlift", "image", "a fox", "--dry-run", "--seed", "4")
    assert (code, out) == (0, "a-fox.png: an image, seed 4\n") and not any(tmp_path.iterdir())


def test_refusals_are_those_of_the_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.mp4").write_text("mine")
    for words in (
        ["gen-video", "a fox", "--out", "mine.mp4"],
        ["gen-video", "a fox", "--out", "mine.mp4/fox.mp4"],
        ["gen-video", "a fox", "--device", "abacus"],
        ["gen-video", "a fox", "--resume", "--model", "nowhere"],
        ["gen-video", "a fox", "--num", "100000", "--frames", "1024"],
        ["dream3d", "a fox", "--out", "fox.txt"],
        ["dream3d", "a fox", "--num", "0"],
        ["dreamlift", "image", "a fox", "--steps", "0"],
    ):
        dry, real = run(*words, "--dry-run"), run(*words)
        assert dry == real and real[0] == 2, words
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert run("gen-video", "a fox", "--dry-run")[2].endswith(
        "Cannot write into the folder .: Permission denied.\n"
    )


def test_what_a_killed_run_has_left_stays_for_the_next_run(run: Run, tmp_path: Path) -> None:
    files = CLIP.files(tmp_path / "a-fox.mp4")
    files.preview.write_bytes(b"so far")
    files.lock.write_bytes(b"")
    with claim(CLIP.files(tmp_path / "other.mp4"), wait=False):
        before = sorted(tmp_path.iterdir())
        assert run("gen-video", "a fox", "--dry-run")[0] == 0
        assert sorted(tmp_path.iterdir()) == before
