"""Disks that are full and folders that vanish: one sentence, exit code 2, and no half-written file."""

import argparse
import os
import random
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults import trials
from benchmarks.faults.work import WORKS, Expected, Run, Work, contents, names

GOOD = ("refused in one sentence", "it was enough", "left out: no disk can be mounted here")
BLOCK = 4096  # bytes; the least that a disk holds
ROOM = 16 * 2**20  # bytes of a disk that is filled later


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    trials.add_arguments(parser, fill, 40, GOOD, [work.name for work in WORKS])


def fill(work: Work, expected: Expected, folder: Path, inputs: Path, chance: random.Random) -> str:
    """Lets a work run on a small disk, on one that is filled while it runs, or in a folder that vanishes."""
    kind = chance.choice(["small", "filled", "gone"])
    need = sum(map(len, expected.results.values()))
    size = ROOM if kind == "filled" else int(need * chance.uniform(0, 2.5)) // BLOCK * BLOCK + BLOCK
    when = chance.uniform(0, 1) * expected.seconds
    output = folder.with_suffix(".txt")
    if kind == "gone":
        inside = folder / "inside"
        inside.mkdir()
        run = Run(work.given(inside, inputs), inside, output)
        run.wait(run.began + when)
        shutil.rmtree(inside, ignore_errors=True)
        return judge(work, expected, inside, run)
    with disk(folder, size) as mounted:
        if not mounted:
            return "left out: no disk can be mounted here"
        run = Run(work.given(folder, inputs), folder, output)
        if kind == "filled":
            run.wait(run.began + when)
            fill_up(folder / "filler")
        return judge(work, expected, folder, run)


def judge(work: Work, expected: Expected, folder: Path, run: Run) -> str:
    """How a run on a disk that may be too small has ended."""
    code = run.wait()
    there = {name for name in names(folder) if name != "filler"} if folder.exists() else set[str]()
    broken = [
        name
        for name, data in expected.results.items()
        if name in there and work.name != "train" and contents(folder / name) != data
    ]
    if broken:
        return f"half-written: {broken}"
    if hidden := [name for name in there - expected.names if "/." in f"/{name}"]:
        return f"left behind: {hidden}"
    if code == 0:
        return "it was enough"
    failed = work.name == "batch" and code == 1 and "Traceback" not in run.printed
    if failed or (code == 2 and run.is_one_sentence):
        return "refused in one sentence"
    return f"exit code {code}: {run.printed[-300:]!r}"


@contextmanager
def disk(folder: Path, size: int) -> Generator[bool, None, None]:
    """Mounts a disk of so many bytes, if this process may; yields whether it did."""
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        for _ in range(50 if mounted else 0):  # an encoder of a killed process may have files open
            if subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)


def fill_up(file: Path) -> None:
    """Fills a disk by a file."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, bytes(BLOCK))
    except OSError:
        os.close(descriptor)
