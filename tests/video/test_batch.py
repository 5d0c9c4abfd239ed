"""`gen-video --prompts`: rows with options, clips that are there already, failures, and several processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from core.command_line.reporting import report_as
from core.errors import UserError
from core.samplers import SamplerState
from video.cli import gen_video, main
from video.generate import SamplingMonitor
from video.record import RunRecord

ROOT = Path(__file__).parents[2]
ROWS = [
    {"prompt": "a fox"},
    {"prompt": "a fox", "seed": 5, "out": "five"},
    {"prompt": "a cat", "frames": 2, "negative": "rain"},
    {"prompt": "a dog", "scale": 2},
]


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def drawn(tiny_model: Path, tmp_path: Path) -> Callable[..., None]:
    """Draws a file of prompts into a folder of tmp_path, in this process."""

    def draw(rows: list[dict[str, object]], folder: str, **options: object) -> None:
        prompts = written(tmp_path / "prompts.jsonl", rows)
        common = {"steps": 2, "frames": 3, "scale": 1, "azimuth": 0.0, "elevation": 10.0, "preview": False}
        gen_video(prompts=prompts, model=str(tiny_model), out=f"{tmp_path / folder}/", **(common | options))  # pyright: ignore

    return draw


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.mp4")}


def test_rows_have_seeds_names_and_options_of_their_own(drawn: Callable[..., None], tmp_path: Path) -> None:
    drawn(ROWS, "a")
    records = {
        path.name.split(".")[0]: RunRecord.model_validate_json(path.read_text())
        for path in (tmp_path / "a").glob("*.json")
    }
    assert sorted(records) == ["a-cat", "a-dog", "a-fox", "five"]
    assert [records[name].seed for name in ("a-fox", "five")] == [0, 5]
    assert (records["a-cat"].options.frames, records["a-cat"].options.negative) == (2, "rain")
    assert records["a-dog"].size == (32, 32) and records["a-fox"].size == (16, 16)
    page = (tmp_path / "a" / "index.html").read_text()
    assert page.count("<video") == 4


def test_scripts_get_paths_or_an_object_for_each_clip_on_stdout(
    drawn: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with report_as(quiet=True, as_json=False):
        drawn(ROWS[:2], "a")
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"{tmp_path}/a/a-fox.mp4", f"{tmp_path}/a/five.mp4"]
    assert printed.err == ""
    with report_as(quiet=False, as_json=True):
        drawn(ROWS[:2], "b")
    printed = capsys.readouterr()
    objects = [json.loads(line) for line in printed.out.splitlines()]
    for made, (name, seed) in zip(objects, (("a-fox", 0), ("five", 5)), strict=True):
        record = json.loads((tmp_path / f"b/{name}.gen-video.json").read_text())
        assert (made["prompt"], made["seed"], made["frames"], made["fps"]) == ("a fox", seed, 3, 8)
        assert [made["width"], made["height"]] == record["size"]
        assert made["file"] == made["files"][0] == f"{tmp_path}/b/{name}.mp4"
        assert [Path(file).name for file in made["files"]] == [*record["files"], f"{name}.gen-video.json"]
        assert 0 < made["seconds"] < 60
    assert "made" in printed.err  # the table of the batch


def test_clips_that_are_there_are_left_out_by_their_options(
    drawn: Callable[..., None], tmp_path: Path, tiny_model: Path
) -> None:
    folder = tmp_path / "a"
    drawn(ROWS, "a")
    before = times(folder)
    (folder / "five.mp4").unlink()
    changed = [*ROWS[:2], ROWS[2] | {"negative": "snow"}, ROWS[3]]
    drawn(changed, "a", skip_existing=True)
    after = times(folder)
    assert {name for name in after if after[name] != before[name]} == {"five.mp4", "a-cat.mp4"}
    record = RunRecord.model_validate_json((folder / "five.gen-video.json").read_text())
    assert record.request and record.model.stages == {}
    drawn(changed, "a", skip_existing=True, steps=3)
    assert not set(times(folder).values()) & set(after.values())


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"prompt": "a fox", "colour": "red"},
            "row 2: 'colour' is no option of one prompt; there are azimuth, ",
        ),
        ({"prompt": "a fox", "model": "x"}, "row 2: 'model' is no option of one prompt"),
        ({"prompt": "a fox", "steps": 0}, "row 2: --steps cannot be 0"),
        ({"prompt": "a fox", "out": "x.avi"}, "its name must end in"),
    ],
)
def test_a_wrong_row_ends_the_run_before_it_begins(
    drawn: Callable[..., None], tmp_path: Path, row: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        drawn([{"prompt": "a cat"}, row], "a")
    assert not list((tmp_path / "a").glob("*.mp4"))


def test_one_failure_does_not_end_the_run(
    drawn: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import video.generate

    whole = video.generate.sample_clips

    def sometimes(model, jobs, **others):
        if any(job.prompt == "a cat" for job, _ in jobs):
            raise RuntimeError("no luck")
        return whole(model, jobs, **others)

    monkeypatch.setattr(video.generate, "sample_clips", sometimes)
    with pytest.raises(typer.Exit) as left:
        drawn(ROWS, "a")
    assert left.value.exit_code == 1 and len(times(tmp_path / "a")) == 3
    assert "RuntimeError: no luck" in (tmp_path / "a" / "a-cat.gen-video.failed.txt").read_text()
    monkeypatch.undo()
    drawn(ROWS, "a", skip_existing=True)
    assert len(times(tmp_path / "a")) == 4 and not (tmp_path / "a" / "a-cat.gen-video.failed.txt").exists()


def test_rows_of_equal_options_are_sampled_together(
    drawn: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    """Camera, phase and enlargement may differ; the number of frames may not."""
    import video.generate

    rows: list[dict[str, object]] = [
        {"prompt": f"a fox, take {n}", "seed": n, "out": f"{n}"} | changes
        for n, changes in enumerate(({"azimuth": 90}, {"frames": 2}, {"phase": 0.5, "scale": 2}, {}, {}))
    ]
    whole, numbers = video.generate.sample_clips, []

    def watched(model, jobs, **others):
        numbers.append([job.seed for job, _ in jobs])
        if any(job.seed == 3 for job, _ in jobs):
            raise RuntimeError("no luck")
        return whole(model, jobs, **others)

    drawn(rows, "alone")
    monkeypatch.setattr(video.generate, "sample_clips", watched)
    with pytest.raises(typer.Exit):
        drawn(rows, "together", batch=2)
    assert numbers == [[0, 2], [3, 4], [3], [4], [1]]
    monkeypatch.undo()
    for n, batch in enumerate((2, 1, 2, None, 1)):
        sheets = [tmp_path / folder / f"{n}.sheet.png" for folder in ("alone", "together")]
        if batch is None:
            assert not sheets[1].exists() and (tmp_path / "together" / "3.gen-video.failed.txt").exists()
            continue
        alone, together = (np.asarray(Image.open(sheet), np.int16) for sheet in sheets)
        assert alone.shape == together.shape and np.abs(alone - together).max() <= 1, n
        record = RunRecord.model_validate_json((tmp_path / "together" / f"{n}.gen-video.json").read_text())
        assert record.batch == batch and record.seed == n
    before = times(tmp_path / "together")
    drawn(rows, "together", batch=4, skip_existing=True)
    after = times(tmp_path / "together")
    assert before.items() <= after.items() and after.keys() - before.keys() == {"3.mp4"}


def test_two_processes_draw_every_clip_once_as_one_does_alone(
    drawn: Callable[..., None], tmp_path: Path, tiny_model: Path, one_thread: None
) -> None:
    """One of them is killed at its first clip, and started again."""
    rows = [{"prompt": "a fox", "seed": seed, "out": f"{seed}"} for seed in range(8)]
    drawn(rows, "alone")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    code = "import sys; sys.argv[0] = 'gen-video'; from video.cli import main; main()"
    options = "--steps 2 --frames 3 --scale 1 --azimuth 0 --elevation 10 --no-preview --out shared/"
    command = [sys.executable, "-c", code, "--prompts", "prompts.jsonl", "--model", str(tiny_model)]
    start = partial(subprocess.Popen, [*command, *options.split()], cwd=tmp_path, env=environment)
    killed, other = start(), start()
    while not list((tmp_path / "shared").glob("*.mp4")):
        time.sleep(0.01)
    killed.kill()
    assert start().wait(120) == 0 and other.wait(120) == 0
    for row in rows:
        name = f"{row['out']}.mp4"
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
    assert (tmp_path / "shared" / "index.html").read_text().count("<video") == 8


PRINTED = re.compile(r"(.+): 1 frame, 8 a second, 16x16, seed 0, sampled in [\d.]+ s")


def test_prompts_and_names_with_brackets_are_no_markup(
    drawn: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "a fox [/b] [red] :fox: " + "and so on " * 20
    drawn([{"prompt": long, "out": "take[b].mp4"}, {"prompt": "[/i]", "out": "[_].mp4"}], "a[c]", frames=1)
    lines = capsys.readouterr().err.splitlines()
    printed = [match[1] for line in lines if (match := PRINTED.fullmatch(line))]
    assert printed == [str(tmp_path / "a[c]" / name) for name in ("take[b].mp4", "[_].mp4")]
    assert str(tmp_path / "a[c]" / "index.html") in "".join(lines)
    assert (
        RunRecord.model_validate_json((tmp_path / "a[c]" / "take[b].gen-video.json").read_text()).prompt
        == long.strip()
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_clips_that_are_finished(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)

    def send(monitor: SamplingMonitor, state: SamplerState) -> None:
        if list(tmp_path.glob("*.json")):  # in the second clip
            signal.raise_signal(number)

    monkeypatch.setattr(SamplingMonitor, "__call__", send)
    options = ["--num", "3", "--steps", "2", "--frames", "1", "--scale", "1", "--model", str(tiny_model)]
    monkeypatch.setattr(sys, "argv", ["gen-video", "a fox", *options])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == code
    assert capsys.readouterr().err.endswith("\ngen-video: stopped.\n")
    assert sorted(os.listdir(tmp_path)) == ["a-fox.gen-video.json", "a-fox.mp4", "a-fox.sheet.png"]
