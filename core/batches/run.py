"""Runs of many jobs, by one process or several that share a folder: each job is done once.

Processes need no server. Each takes the jobs in order and locks a file next to the one that it makes. A
killed process holds no lock. What a job made is recognized by its record.
"""

import os
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from core.errors import UserError


class BatchJob(NamedTuple):
    """One file to make.

    make: makes it and its record. is_made: whether the files that are there are those that `make` would make.
    """

    file: Path
    make: Callable[[], None]
    is_made: Callable[[], bool]

    @property
    def failure(self) -> Path:
        """Why the job failed; there until it is done."""
        return self.file.with_suffix(".failed.txt")


@dataclass
class Outcome:
    """What became of the jobs of a run; `failed`: file, and the last line of the error."""

    made: list[Path] = field(default_factory=list[Path])
    there: list[Path] = field(default_factory=list[Path])  # before, or made by another process
    failed: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])

    def __str__(self) -> str:
        parts = ((self.made, "made"), (self.there, "already there"), (self.failed, "failed"))
        return ", ".join(f"{len(files)} {word}" for files, word in parts if files)


def process_count() -> int:
    """Number of processes that accelerate or torchrun has started for this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def run_batch(jobs: Sequence[BatchJob], skip_existing: bool) -> Outcome:
    """Does all jobs that no other process does, then takes over what others have left undone.

    A failure is written to `BatchJob.failure`, and the next job is done. A single job raises its error.

    skip_existing: leave out jobs whose files are there. Of several processes each always does.
    """
    outcome, left = Outcome(), []
    skip = skip_existing or process_count() > 1
    for job in jobs:
        with _claim(job.file, wait=False) as mine:
            if mine:
                job.failure.unlink(missing_ok=True)
                _do(job, skip, alone=len(jobs) == 1, outcome=outcome)
            else:
                left.append(job)
    for job in left:
        with _claim(job.file, wait=True):
            if job.failure.exists():
                outcome.failed.append((job.file, "in another process"))
            else:
                _do(job, skip=True, alone=False, outcome=outcome)
    return outcome


def _do(job: BatchJob, skip: bool, alone: bool, outcome: Outcome) -> None:
    if skip and job.is_made():
        outcome.there.append(job.file)
        return
    try:
        job.make()
    except Exception as error:
        if alone:
            raise
        sentence = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        details = sentence if isinstance(error, UserError) else traceback.format_exc()
        job.failure.write_text(f"{details}\n", encoding="utf-8")
        print(f"{job.file}: {sentence}", file=sys.stderr)
        outcome.failed.append((job.file, sentence))
    else:
        outcome.made.append(job.file)


@contextmanager
def _claim(file: Path, wait: bool) -> Generator[bool, None, None]:
    """Locks a file that is to be made, if possible; yields whether it is locked. wait: until it is."""
    path = file.with_name(f".{file.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # Windows keeps a file that is open; the next run removes it
            path.unlink()
        lock.release()
