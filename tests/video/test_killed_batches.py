"""A batch of many prompts that is killed again and again: every clip once, as it would be drawn alone."""

import json
import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
import torch

from video.cli import gen_video

COUNT, KILLS = 40, 3

CONTEXT = multiprocessing.get_context("forkserver")  # its processes start with everything imported
CONTEXT.set_forkserver_preload(["torch._dynamo", "video.generate", "video.clip_model"])


def rows() -> list[dict[str, object]]:
    """The prompts: one mp4 in eight, because ffmpeg takes longest to start; the others are quick to write."""
    names = (f"{number:02}{'.mp4' if number % 8 == 0 else '.gif'}" for number in range(COUNT))
    return [
        {"prompt": f"a fox, take {number}", "seed": number, "out": name} for number, name in enumerate(names)
    ]


def draw(prompts: Path, model: Path, folder: Path, processes: int = 1) -> None:
    """The command, in a process that has imported everything already."""
    torch.set_num_threads(1)
    os.environ["WORLD_SIZE"] = str(processes)
    gen_video(
        prompts=prompts, model=str(model), out=f"{folder}/", skip_existing=True, steps=2, frames=2,
        scale=1, azimuth=0.0, elevation=10.0,
    )  # fmt: skip


def made(folder: Path) -> dict[str, int]:
    """When each clip that has a record was written."""
    return {
        (name := path.name.split(".")[0]): next(folder.glob(f"{name}.[mg][pi]*")).stat().st_mtime_ns
        for path in folder.glob("[0-9]*.json")
    }


@pytest.fixture(scope="module")
def alone(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the clips, drawn by one process that nobody kills; the file of prompts lies beside it."""
    prompts = tmp_path_factory.mktemp("batch") / "prompts.jsonl"
    prompts.write_text("\n".join(map(json.dumps, rows())))
    process = CONTEXT.Process(target=draw, args=(prompts, tiny_model, prompts.with_name("alone")))
    process.start()
    process.join()
    assert process.exitcode == 0
    return prompts.with_name("alone")


@pytest.mark.parametrize("processes", [1, 2])
def test_every_clip_is_drawn_once_though_the_run_is_killed(
    tiny_model: Path, tmp_path: Path, alone: Path, processes: int
) -> None:
    folder = tmp_path / "killed"

    def start() -> list[multiprocessing.process.BaseProcess]:
        settings = (alone.with_name("prompts.jsonl"), tiny_model, folder, processes)
        started = [CONTEXT.Process(target=draw, args=settings) for _ in range(processes)]
        for process in started:
            process.start()
        return started

    chance = random.Random(processes)
    before: dict[str, int] = {}
    for _ in range(KILLS):
        running = start()
        target = len(before) + chance.randint(1, COUNT // (KILLS + 1))
        while len(list(folder.glob("[0-9]*.json"))) < target:
            assert all(process.is_alive() for process in running)
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.1))
        for process in running:
            process.kill()
        for process in running:
            process.join()
        after = made(folder)
        assert target <= len(after) < COUNT
        assert before.items() <= after.items()
        before = after
    running = start()
    for process in running:
        process.join(300)
    assert [process.exitcode for process in running] == [0] * len(running)

    assert before.items() <= made(folder).items() and len(made(folder)) == COUNT
    for row in rows():
        clip = str(row["out"])
        assert (folder / clip).read_bytes() == (alone / clip).read_bytes(), clip
    assert {path.suffix for path in folder.iterdir()} == {".mp4", ".gif", ".png", ".json", ".html", ".csv"}
    assert len(list(folder.glob("[0-9]*"))) == 3 * COUNT and not list(folder.glob(".*"))
    page = (folder / "index.html").read_text()
    assert page.count("<figure>") == COUNT
    summary = (folder / "summary.gen-video.csv").read_text().splitlines()
    assert len(summary) == 1 + COUNT and all(",made," in line for line in summary[1:])
