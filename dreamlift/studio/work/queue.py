"""The queue of the studio: one worker makes jobs in order. Knows neither HTTP nor the page.

A job is computed by one thread, because several would share the same cores or the same GPU.
"""

from __future__ import annotations

import secrets
import sys
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import UserError
from dreamlift.studio.work.job import OVER, JobCancelledError, JobView, State, Work

REMEMBERED = 200  # jobs that are over
RECENT = 12  # steps by which the time left is estimated


@dataclass
class _Job:
    """A job with what changes while it is made. Guarded by the queue's lock."""

    id: str
    work: Work
    state: State = "waiting"
    cancelled: bool = False
    phase: str = ""
    step: int = 0
    steps: int = 0
    began: float = 0.0
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RECENT))  # time, step
    ended: float = 0.0
    previews: int = 0
    preview: Path | None = None
    notes: list[str] = field(default_factory=list[str])
    error: str | None = None
    files: list[str] = field(default_factory=list[str])
    version: int = 0

    def left(self, now: float) -> float | None:
        """Seconds until the phase ends, by the pace of its latest steps; None before two of them."""
        if len(self.recent) < 2:
            return None
        (first, before), (last, done) = self.recent[0], self.recent[-1]
        pace = (last - first) / (done - before)
        return max(0.0, pace * (self.steps - done) - (now - last))


class JobQueue:
    """A queue with one worker, which is a thread.

    length: how many jobs may wait.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._jobs: dict[str, _Job] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="studio", daemon=True)
        self._worker.start()

    def submit(self, *works: Work) -> list[JobView]:
        """Adds jobs at the end of the queue: all of them, or none.

        Raises UserError where more would wait than the queue holds.
        """
        with self._changed:
            if self._closed:
                raise UserError("The studio is closing: start it again.")
            free = self.length - len(self._waiting())
            if len(works) > free:
                raise UserError(
                    f"The queue holds {self.length} jobs, and {free} more fit: wait, or cancel some of them."
                )
            jobs = [_Job(secrets.token_hex(6), work) for work in works]
            self._jobs |= {job.id: job for job in jobs}
            self._forget()
            self._changed.notify_all()
            return [self._view(job) for job in jobs]

    def cancel(self, identifier: str) -> JobView:
        """Cancels a job: one that waits at once, one that is running between two of its steps.

        A job that is over stays as it is. Raises UserError for a job that does not exist.
        """
        with self._changed:
            job = self._find(identifier)
            job.cancelled = True
            if job.state == "waiting":
                self._end(job, "cancelled")
            elif job.state == "running":
                job.version += 1
            return self._view(job)

    def get(self, identifier: str) -> JobView:
        """The state of a job. Raises UserError for a job that does not exist."""
        with self._changed:
            return self._view(self._find(identifier))

    def all(self) -> list[JobView]:
        """The states of all jobs that are remembered, in the order in which they were submitted."""
        with self._changed:
            return [self._view(job) for job in self._jobs.values()]

    def preview(self, identifier: str) -> Path | None:
        """The latest preview of a job that is running. Raises UserError for a job that does not exist."""
        with self._changed:
            return self._find(identifier).preview

    def wait(self, identifier: str, timeout: float | None = None) -> JobView:
        """Waits until a job is over, or for so many seconds; returns its state."""
        with self._changed:
            job = self._find(identifier)
            self._changed.wait_for(lambda: job.state in OVER, timeout)
            return self._view(job)

    def close(self, timeout: float = 10.0) -> None:
        """Cancels all jobs and waits for the worker, so many seconds at most."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.cancelled = True
                if job.state == "waiting":
                    self._end(job, "cancelled")
            self._changed.notify_all()
        self._worker.join(timeout)

    def _find(self, identifier: str) -> _Job:
        if identifier not in self._jobs:
            raise UserError("There is no such job: it ended long ago, or the studio was started again.")
        return self._jobs[identifier]

    def _waiting(self) -> list[_Job]:
        return [job for job in self._jobs.values() if job.state == "waiting"]

    def _forget(self) -> None:
        """Drops the oldest of the jobs that are over, where there are too many."""
        over = [job for job in self._jobs.values() if job.state in OVER]
        for job in over[: max(0, len(over) - REMEMBERED)]:
            del self._jobs[job.id]

    def _work(self) -> None:
        """Makes jobs, one after another, until the queue is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting())
                if self._closed:
                    return
                job = self._waiting()[0]
                job.state, job.began = "running", time.monotonic()
                job.version += 1
            self._make(job)

    def _make(self, job: _Job) -> None:
        try:
            files = job.work.make(_Reporter(job, self._changed))
        except JobCancelledError:
            state, error, files = "cancelled", None, []
        except Exception as failure:
            state, files = "failed", []
            error = str(failure)
            if not isinstance(failure, UserError):
                traceback.print_exc(file=sys.stderr)
                error = f"{type(failure).__name__}: {failure}".splitlines()[0]
        else:
            state, error = "done", None
        with self._changed:
            job.error, job.files = error, files
            self._end(job, state)

    def _end(self, job: _Job, state: State) -> None:
        job.state, job.ended, job.phase, job.preview = state, time.monotonic(), "", None
        job.version += 1
        self._changed.notify_all()

    def _view(self, job: _Job) -> JobView:
        running, now = job.state == "running", time.monotonic()
        waiting = self._waiting()
        return JobView(
            id=job.id,
            kind=job.work.kind,
            prompt=job.work.prompt,
            seed=job.work.seed,
            state=job.state,
            position=waiting.index(job) + 1 if job in waiting else 0,
            phase="stopping" if running and job.cancelled else job.phase,
            step=job.step,
            steps=job.steps,
            seconds=(now if running else job.ended) - job.began if job.began else 0.0,
            left=job.left(now) if running else None,
            preview=job.previews,
            notes=[*job.notes],
            error=job.error,
            files=[*job.files],
            version=job.version,
        )


class _Reporter:
    """The `Report` of a job that is running."""

    def __init__(self, job: _Job, lock: threading.Condition) -> None:
        self.job, self.lock = job, lock

    def begin(self, phase: str, steps: int = 0) -> None:
        self.job.recent.clear()
        self._change(phase=phase, step=0, steps=steps)

    def step(self, done: int, steps: int) -> None:
        self.job.recent.append((time.monotonic(), done))
        self._change(step=done, steps=steps)

    def preview(self, file: Path) -> None:
        self._change(preview=file, previews=self.job.previews + 1)

    def note(self, sentence: str) -> None:
        self._change(notes=[*self.job.notes, sentence])

    def _change(self, **values: object) -> None:
        with self.lock:
            for name, value in values.items():
                setattr(self.job, name, value)
            self.job.version += 1
            if self.job.cancelled:
                raise JobCancelledError
