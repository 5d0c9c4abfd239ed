"""Files of prompts, runs of many jobs by several processes, and the page of a folder."""

import csv
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from core.batches.gallery import write_gallery
from core.batches.prompt_file import PromptRow, read_prompt_file
from core.batches.report import write_report, write_summary
from core.batches.run import BatchJob, MakeTogether, run_batch
from core.errors import UserError
from core.io.files.names import OutputKind
from core.io.files.plan import OutputRequest, PlannedOutput, plan_outputs

KIND = OutputKind("draw", "clip", (".mp4", ".gif"))


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_of_each_kind_of_file(tmp_path: Path) -> None:
    lines = written(tmp_path / "a.txt", "a fox\n\n  ein Bär  \n")
    assert [row.prompt for row in read_prompt_file(lines)] == ["a fox", "ein Bär"]
    table = written(
        tmp_path / "a.csv", 'prompt,seed,out,guidance-rescale\n"a fox, waving",7,fox,\na cat,,,0.5\n'
    )
    rows = read_prompt_file(table)
    assert rows[0] == PromptRow("a fox, waving", 7, "fox", {}, f"{table}, row 1")
    assert rows[1] == PromptRow("a cat", None, None, {"guidance_rescale": "0.5"}, f"{table}, row 2")
    objects = [{"text": "a fox", "steps": 4, "seed": None}, {"prompt": "a cat", "out": "c.gif"}]
    found = read_prompt_file(written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, objects))))
    assert [(row.prompt, row.out, dict(row.options)) for row in found] == [
        ("a fox", None, {"steps": 4}), ("a cat", "c.gif", {}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", "prompt,seed\na fox,x\n", "row 1: the seed 'x' is no whole number"),
        ("a.csv", "prompt\na fox,1\n", "row 1 has more cells than the header"),
        ("a.csv", "seed\n1\n", "row 1 has no prompt"),
        ("a.jsonl", "[1]", "row 1 is no JSON object"),
        ("a.jsonl", "{", "Cannot read the prompts"),
        ("a.txt", "\n", "There is no prompt in"),
    ],
)
def test_damaged_files_of_prompts(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_prompt_file(written(tmp_path / name, text))


def test_rows_choose_their_seeds_and_names(tmp_path: Path) -> None:
    requests = [OutputRequest("a"), OutputRequest("b", 9, "x.gif"), OutputRequest("c", None, "x")]
    planned = plan_outputs(requests, 2, 5, f"{tmp_path}/", KIND)
    assert [(job.seed, job.file.name) for job in planned] == [
        (5, "a.mp4"), (6, "a-2.mp4"), (9, "x.gif"), (10, "x-2.gif"), (5, "x-3.mp4"), (6, "x-4.mp4"),
    ]  # fmt: skip
    for name, sentence in (("../x", "without a folder"), ("x.png", "must end in .mp4 or .gif")):
        with pytest.raises(UserError, match=sentence):
            plan_outputs([OutputRequest("a", name=name)], 1, 0, None, KIND)
    with pytest.raises(UserError, match="--seed cannot be -1"):
        plan_outputs([OutputRequest("a", -1)], 1, 0, None, KIND)


def jobs_in(folder: Path, count: int, seconds: float = 0.0, broken: int = -1) -> list[BatchJob]:
    """Jobs that write a line into a log, and then their file."""

    def make(number: int) -> None:
        if number == broken:
            raise UserError("it does not work")
        time.sleep(seconds)
        with (folder / "log").open("a") as log:
            log.write(f"{number}\n")
        (folder / f"{number}.mp4").write_text(str(number))

    def job(number: int) -> BatchJob:
        file = folder / f"{number}.mp4"
        return BatchJob(KIND.files(file), lambda: make(number), lambda: file.exists())

    return [job(number) for number in range(count)]


def test_a_failure_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    outcome = run_batch(jobs_in(tmp_path, 4, broken=1), skip_existing=False)
    assert [file.name for file in outcome.made] == ["0.mp4", "2.mp4", "3.mp4"]
    assert outcome.failed == [(tmp_path / "1.mp4", "it does not work")]
    assert (tmp_path / "1.draw.failed.txt").read_text() == "1.mp4 was not made:\nit does not work\n"
    assert str(outcome) == "3 made, 1 failed" and not list(tmp_path.glob(".*.lock"))

    again = run_batch(jobs_in(tmp_path, 4), skip_existing=True)
    assert str(again) == "1 made, 3 already there" and not (tmp_path / "1.draw.failed.txt").exists()
    assert str(run_batch(jobs_in(tmp_path, 4), skip_existing=False)) == "4 made"
    with pytest.raises(UserError, match="it does not work"):
        run_batch(jobs_in(tmp_path, 1, broken=0), skip_existing=False)


def _process(folder: Path) -> None:
    os.environ["WORLD_SIZE"] = "3"
    run_batch(jobs_in(folder, 12, 0.05), skip_existing=False)


def test_processes_share_the_jobs_and_take_over_from_a_killed_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_process, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    while not (tmp_path / "log").exists():
        time.sleep(0.01)
    assert processes[0].pid
    os.kill(processes[0].pid, signal.SIGKILL)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes[1:]] == [0, 0]
    done = sorted(map(int, (tmp_path / "log").read_text().split()))
    assert sorted(set(done)) == list(range(12)) and len(done) <= 13  # the killed one had perhaps no file yet
    assert len(list(tmp_path.glob("*.mp4"))) == 12


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_shows_what_has_a_record(tmp_path: Path) -> None:
    for name, prompt in (("a #1", 'a "fox" <waving>'), ("b", "a cat")):
        written(tmp_path / f"{name}.mp4", "")
        record = {"prompt": prompt, "seed": 3, "files": [f"{name}.mp4", f"{name}.png"]}
        written(tmp_path / f"{name}.draw.json", json.dumps(record))
    written(tmp_path / "gone.json", json.dumps({"prompt": "x", "seed": 0, "files": ["gone.mp4"]}))
    written(tmp_path / "other.json", "[1, 2]")
    page = write_gallery(tmp_path)
    assert page
    links = Links()
    links.feed(page.read_text())
    assert links.sources == ["a%20%231.mp4", "b.mp4"]
    assert 'a "fox" <waving>' in links.words and "seed 3" in links.words and "gone" not in links.words
    assert write_gallery(tmp_path) == page
    written(page, "<p>mine</p>")
    assert write_gallery(tmp_path) is None and page.read_text() == "<p>mine</p>"


def together(folder: Path, count: int, groups: str, broken: int = -1) -> tuple[list[BatchJob], MakeTogether]:
    """Jobs of the groups that the letters name ("-" is none), and a call that logs what it makes together."""
    jobs = jobs_in(folder, count, broken=broken)
    jobs = [job._replace(group=None if name == "-" else name) for job, name in zip(jobs, groups, strict=True)]

    def make(indices: Sequence[int]) -> None:
        assert all((folder / f".{i}.draw.lock").exists() for i in indices)
        (folder / "calls").open("a").write(f"{[*indices]}\n")
        for index in indices:
            jobs[index].make()

    return jobs, make


def test_jobs_of_a_group_are_made_together(tmp_path: Path) -> None:
    jobs, make = together(tmp_path, 9, "aab-aba-a")
    outcome = run_batch(jobs, skip_existing=False, size=3, make_together=make)
    assert (tmp_path / "calls").read_text() == "[0, 1, 4]\n[6, 8]\n[2, 5]\n"
    done = [*map(int, (tmp_path / "log").read_text().split())]
    assert done == [0, 1, 4, 6, 8, 2, 5, 3, 7] and len(outcome.made) == 9
    assert not list(tmp_path.glob(".*"))

    for gone in (1, 4, 5, 8):
        (tmp_path / f"{gone}.mp4").unlink()
    outcome = run_batch(jobs, skip_existing=True, size=3, make_together=make)
    assert str(outcome) == "4 made, 5 already there"
    assert (tmp_path / "calls").read_text().endswith("[2, 5]\n[1, 4, 8]\n")


def test_jobs_that_fail_together_are_made_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs, make = together(tmp_path, 5, "aaaaa", broken=1)
    outcome = run_batch(jobs, skip_existing=False, size=4, make_together=make)
    assert str(outcome) == "4 made, 1 failed" and (tmp_path / "1.draw.failed.txt").exists()
    assert "4 together: it does not work" in capsys.readouterr().err


def test_a_number_that_fails_though_each_succeeds_is_halved(tmp_path: Path) -> None:
    jobs, _ = together(tmp_path, 12, "a" * 12)
    sizes: list[int] = []

    def make(indices: Sequence[int]) -> None:
        sizes.append(len(indices))
        if len(indices) > 2:
            raise MemoryError
        for index in indices:
            jobs[index].make()

    assert len(run_batch(jobs, skip_existing=False, size=4, make_together=make).made) == 12
    assert sizes == [4, 2, 2, 2, 2]


def test_the_summary_has_a_row_for_each_job(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path, 3, broken=1)
    outcome = run_batch(jobs, skip_existing=False)
    written(tmp_path / "0.draw.json", json.dumps({"seconds": {"load": 9, "sample": 1.5, "write": 0.25}}))
    written(tmp_path / ".index.0123abcd.draft.html", "half")
    planned = [PlannedOutput('a "fox", waving', 7, job.file) for job in jobs]
    stream = StringIO()
    write_report(planned, jobs, outcome, Console(file=stream, width=80))
    with (tmp_path / "summary.draw.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["state"] for row in rows] == ["made", "failed", "made"]
    assert rows[0] == {
        "file": "0.mp4", "prompt": 'a "fox", waving', "seed": "7", "state": "made", "seconds": "1.75",
        "error": "",
    }  # fmt: skip
    assert rows[1]["error"] == "it does not work" and rows[2]["seconds"] == ""
    shown = stream.getvalue()
    assert "summary.draw.csv" in shown.replace("\n", "")  # the folder's name may fold the line
    assert "already there" in shown and len(shown.splitlines()) < 12
    assert (tmp_path / "index.html").exists() and not list(tmp_path.glob(".*"))
    written(tmp_path / "summary.draw.csv", "mine\n")
    assert write_summary(tmp_path / "summary.draw.csv", planned, jobs) is None
    assert (tmp_path / "summary.draw.csv").read_text() == "mine\n"
