"""Runs of many jobs, by one process or several that share a folder: each job is done once.

Processes need no server. Each takes the jobs in order and locks a file next to the one that it makes. A
killed process holds no lock. What a job made is recognized by its record.
"""

import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from core.errors import UserError
from core.io.atomic import find_drafts
from core.io.files.names import OutputFiles


class BatchJob(NamedTuple):
    """One output to make.

    make: makes its files and its record. is_made: whether the files that are there are those that `make`
    would make. group: jobs of equal groups can be made in one call; None is of no group.
    """

    files: OutputFiles
    make: Callable[[], None]
    is_made: Callable[[], bool]
    group: str | None = None

    @property
    def file(self) -> Path:
        """The main file."""
        return self.files.output

    @property
    def failure(self) -> Path:
        """Why the job failed; there until it is done."""
        return self.files.failure


MakeTogether = Callable[[Sequence[int]], None]
"""Makes the jobs of these indices, which are of one group, in one call."""


@dataclass
class Outcome:
    """What became of the jobs of a run; `failed`: file, and the last line of the error."""

    made: list[Path] = field(default_factory=list[Path])
    there: list[Path] = field(default_factory=list[Path])  # before, or made by another process
    failed: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])
    seconds: float = 0.0  # that it took to make those that were made

    def __str__(self) -> str:
        parts = ((self.made, "made"), (self.there, "already there"), (self.failed, "failed"))
        return ", ".join(f"{len(files)} {word}" for files, word in parts if files)


def process_count() -> int:
    """Number of processes that accelerate or torchrun has started for this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def run_batch(
    jobs: Sequence[BatchJob],
    skip_existing: bool,
    *,
    size: int = 1,
    make_together: MakeTogether | None = None,
    processes: int | None = None,
) -> Outcome:
    """Does all jobs that no other process does, then takes over what others have left undone.

    A failure is written to `BatchJob.failure`, and the next job is done. A single job raises its error. Jobs
    that fail together are made one by one, so that only those fail that fail alone.

    skip_existing: leave out jobs whose files are there. Of several processes each always does.
    size: jobs of a group that are made together at most, by `make_together`.
    processes: that share the jobs; `process_count` unless given.
    """
    skip = skip_existing or (processes or process_count()) > 1
    run = _Run(jobs, skip, size if make_together else 1, make_together)
    remove_leftovers(jobs)
    for group in _grouped(jobs):
        while group:
            run.make_some(group)
    for job in run.left:
        with claim(job.file, wait=True):
            if job.failure.exists():
                run.outcome.failed.append((job.file, "in another process"))
            elif job.is_made():
                run.outcome.there.append(job.file)
            else:
                run.make_alone(job)
    remove_leftovers(jobs)
    return run.outcome


def remove_leftovers(jobs: Sequence[BatchJob]) -> None:
    """Deletes the drafts and the files of locks that killed processes have left, of jobs not under way."""
    of_stem = {(job.file.parent, job.file.stem): job for job in jobs}
    drafts: dict[Path, list[Path]] = {}
    for folder in {job.file.parent for job in jobs}:
        for draft, file in find_drafts(folder):
            names = file.name.split(".")
            stems = (".".join(names[:count]) for count in range(len(names) - 1, 0, -1))  # the longest first
            job = next((of_stem[folder, stem] for stem in stems if (folder, stem) in of_stem), None)
            if job:
                drafts.setdefault(job.file, []).append(draft)
    locked = {job.file for job in jobs if _lock_file(job.file).exists()}
    for file in drafts.keys() | locked:
        with claim(file, wait=False) as mine:
            for draft in drafts.get(file, ()) if mine else ():
                draft.unlink(missing_ok=True)


def _grouped(jobs: Sequence[BatchJob]) -> list[deque[int]]:
    """The indices of the jobs of each group, in the order of their first jobs; without one, by themselves."""
    groups: dict[str | int, deque[int]] = {}
    for index, job in enumerate(jobs):
        groups.setdefault(index if job.group is None else job.group, deque()).append(index)
    return [*groups.values()]


@dataclass
class _Run:
    """A run under way. Arguments as in `run_batch`."""

    jobs: Sequence[BatchJob]
    skip: bool
    size: int
    make_together: MakeTogether | None
    outcome: Outcome = field(default_factory=Outcome)
    left: list[BatchJob] = field(default_factory=list[BatchJob])  # which other processes were doing

    def make_some(self, group: deque[int]) -> None:
        """Takes as many jobs of a group from its front as are made together, and makes them."""
        with ExitStack() as locks:
            chosen: list[int] = []
            while group and len(chosen) < self.size:
                index = group.popleft()
                if self._take(self.jobs[index], locks):
                    chosen.append(index)
            if len(chosen) > 1:
                self._make_together(chosen)
            elif chosen:
                self.make_alone(self.jobs[chosen[0]])

    def make_alone(self, job: BatchJob) -> bool:
        """Makes one job; returns whether it could."""
        began = time.perf_counter()
        try:
            job.make()
        except Exception as error:
            if len(self.jobs) == 1:
                raise
            sentence = _sentence(error)
            details = sentence if isinstance(error, UserError) else traceback.format_exc()
            job.failure.write_text(f"{details}\n", encoding="utf-8")
            print(f"{job.file}: {sentence}", file=sys.stderr)
            self.outcome.failed.append((job.file, sentence))
            return False
        self._add([job], began)
        return True

    def _take(self, job: BatchJob, locks: ExitStack) -> bool:
        """Whether the job is to be made by this process, which then holds its lock."""
        with ExitStack() as lock:
            if not lock.enter_context(claim(job.file, wait=False)):
                self.left.append(job)
                return False
            job.failure.unlink(missing_ok=True)
            if self.skip and job.is_made():
                self.outcome.there.append(job.file)
                return False
            locks.push(lock.pop_all())
            return True

    def _make_together(self, indices: Sequence[int]) -> None:
        assert self.make_together
        jobs, began = [self.jobs[index] for index in indices], time.perf_counter()
        try:
            self.make_together(indices)
        except Exception as error:
            print(f"{len(jobs)} together: {_sentence(error)} They are made one by one.", file=sys.stderr)
        else:
            self._add(jobs, began)
            return
        alone = [self.make_alone(job) for job in jobs]
        if all(alone):  # the number was at fault: memory, for example
            self.size = max(1, len(jobs) // 2)

    def _add(self, jobs: Sequence[BatchJob], began: float) -> None:
        self.outcome.made.extend(job.file for job in jobs)
        self.outcome.seconds += time.perf_counter() - began


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _lock_file(file: Path) -> Path:
    return file.with_name(f".{file.name}.lock")


@contextmanager
def claim(file: Path, wait: bool) -> Generator[bool, None, None]:
    """Locks a file that is to be made, if possible; yields whether it is locked. wait: until it is."""
    path = _lock_file(file)
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
