"""Runs of many jobs, by one process or several that share a folder: each job is done once.

Processes need no server. Each takes the jobs in order and locks a file next to the one that it makes. A
killed process holds no lock. What a job made is recognized by its record.
"""

import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from core.errors import UserError
from core.io.atomic import WriteError, atomic_write
from core.io.files.names import OutputFiles
from core.io.files.output_set import busy, claim, recover_all
from core.io.files.record import failure_text


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
        return self.files.main

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
    _clear(jobs)
    for group in _grouped(jobs):
        while group:
            run.make_some(group)
    for job in run.left:
        with claim(job.files, wait=True):
            if job.failure.exists():
                run.outcome.failed.append((job.file, "in another process"))
            elif job.is_made():
                run.outcome.there.append(job.file)
            else:
                run.make_alone(job)
    _clear(jobs)
    return run.outcome


def _clear(jobs: Sequence[BatchJob]) -> None:
    """Clears away, or completes, what killed processes have left in the folders of jobs."""
    for folder, kind in {(job.file.parent, job.files.kind.command): job.files.kind for job in jobs}.items():
        recover_all(folder[0], kind)


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
            self._fail(job, sentence, details)
            return False
        self._add([job], began)
        return True

    def _take(self, job: BatchJob, locks: ExitStack) -> bool:
        """Whether the job is to be made by this process, which then holds its lock."""
        with ExitStack() as lock:
            if not lock.enter_context(claim(job.files, wait=False)):
                if self.skip:
                    self.left.append(job)
                elif len(self.jobs) == 1:
                    raise busy(job.files)
                else:
                    self._fail(job, str(busy(job.files)))
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

    def _fail(self, job: BatchJob, sentence: str, details: str | None = None) -> None:
        """Notes and prints why a job was not made. details: for the file; none is written without."""
        print(f"{job.file}: {sentence}", file=sys.stderr)
        self.outcome.failed.append((job.file, sentence))
        if details:
            try:
                with atomic_write(job.failure) as draft:
                    draft.write_text(failure_text(job.files, details), encoding="utf-8")
            except WriteError as error:
                print(error, file=sys.stderr)

    def _add(self, jobs: Sequence[BatchJob], began: float) -> None:
        self.outcome.made.extend(job.file for job in jobs)
        self.outcome.seconds += time.perf_counter() - began


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
