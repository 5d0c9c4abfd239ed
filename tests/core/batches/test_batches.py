"""Files of prompts, runs of many jobs by several processes, and the page of a folder."""

import json
import multiprocessing
import os
import signal
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from core.batches.gallery import write_gallery
from core.batches.prompt_file import PromptRow, read_prompt_file
from core.batches.run import BatchJob, run_batch
from core.errors import UserError
from core.io.outputs import plan_outputs


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
    planned = plan_outputs(
        ["a", "b", "c"], 2, 5, f"{tmp_path}/", "clip", (".mp4", ".gif"),
        seeds=[None, 9, None], names=[None, "x.gif", "x"],
    )  # fmt: skip
    assert [(job.seed, job.file.name) for job in planned] == [
        (5, "a.mp4"), (6, "a-2.mp4"), (9, "x.gif"), (10, "x-2.gif"), (5, "x-3.mp4"), (6, "x-4.mp4"),
    ]  # fmt: skip
    for name, sentence in (("../x", "without a folder"), ("x.png", "must end in .mp4 or .gif")):
        with pytest.raises(UserError, match=sentence):
            plan_outputs(["a"], 1, 0, None, "clip", (".mp4", ".gif"), names=[name])
    with pytest.raises(UserError, match="--seed cannot be -1"):
        plan_outputs(["a"], 1, 0, None, "clip", (".mp4",), seeds=[-1])


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
        return BatchJob(file, lambda: make(number), lambda: file.exists())

    return [job(number) for number in range(count)]


def test_a_failure_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    outcome = run_batch(jobs_in(tmp_path, 4, broken=1), skip_existing=False)
    assert [file.name for file in outcome.made] == ["0.mp4", "2.mp4", "3.mp4"]
    assert outcome.failed == [(tmp_path / "1.mp4", "it does not work")]
    assert (tmp_path / "1.failed.txt").read_text() == "it does not work\n"
    assert str(outcome) == "3 made, 1 failed" and not list(tmp_path.glob(".*.lock"))

    again = run_batch(jobs_in(tmp_path, 4), skip_existing=True)
    assert str(again) == "1 made, 3 already there" and not (tmp_path / "1.failed.txt").exists()
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
        written(tmp_path / f"{name}.json", json.dumps(record))
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
