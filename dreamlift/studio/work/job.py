"""A job of the studio as others see it: what it makes, what it reports, and its state."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel

State = Literal["waiting", "running", "done", "failed", "cancelled"]
OVER: tuple[State, ...] = ("done", "failed", "cancelled")


class JobCancelledError(Exception):
    """Raised inside a job, between two of its steps, once it has been cancelled."""


class Report(Protocol):
    """What a job tells while it is made. Each call raises `JobCancelledError` once the job is cancelled."""

    def begin(self, phase: str, steps: int = 0) -> None:
        """A phase begins, such as "sampling". steps: that it takes; 0 where it does not count any."""
        ...

    def step(self, done: int, steps: int) -> None:
        """So many steps of a phase are done, of so many that it takes."""
        ...

    def preview(self, file: Path) -> None:
        """A file shows the unfinished result. The next one may have the same path."""
        ...

    def note(self, sentence: str) -> None:
        """Something that the person should know, such as what of the prompt cannot be drawn."""
        ...


class Work(Protocol):
    """What a job makes."""

    @property
    def kind(self) -> str:
        """The kind, "clip" or "object"."""
        ...

    @property
    def prompt(self) -> str:
        """What it shows."""
        ...

    @property
    def seed(self) -> int:
        """Its seed."""
        ...

    def make(self, report: Report) -> list[str]:
        """Makes it; returns the names of its files in the output folder, the main one first."""
        ...


class JobView(BaseModel):
    """The state of a job at one moment: what the API sends and the page shows."""

    id: str
    kind: str
    prompt: str
    seed: int
    state: State
    position: int  # among those that wait, from 1; 0 for all others
    phase: str  # what is being done, such as "sampling"; empty unless it is running
    step: int  # completed steps of the phase
    steps: int  # that the phase takes; 0 where it does not count any
    seconds: float  # since it began
    left: float | None  # estimated seconds until the phase ends; None where nothing is known
    preview: int  # grows with every preview; 0 before the first
    notes: list[str]  # sentences, such as what of the prompt cannot be drawn
    error: str | None  # one sentence, of a job that failed
    files: list[str]  # names in the output folder, the main file first; of a job that is done
    version: int  # grows with every change

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in OVER

    @property
    def share(self) -> float:
        """Completed share of the phase, from 0 to 1."""
        return self.step / self.steps if self.steps else 0.0
