"""Studios whose jobs take no time, and a server around them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from dreamlift.studio.guard import Login
from dreamlift.studio.server import make_app
from dreamlift.studio.studio import Studio
from dreamlift.studio.work.job import Report


@dataclass
class Steps:
    """A work of some steps, each of which waits to be let through."""

    prompt: str = "a panda"
    steps: int = 3
    folder: Path | None = None
    fails: Exception | None = None
    seed: int = 0
    kind: str = "clip"
    pass_on: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(10**6))
    done: int = 0
    made: list[str] = field(default_factory=list[str])  # prompts, of all works that share this list

    def make(self, report: Report) -> list[str]:
        report.begin("sampling", self.steps)
        for step in range(1, self.steps + 1):
            self.pass_on.acquire()
            self.done = step
            report.step(step, self.steps)
        if self.fails:
            raise self.fails
        self.made.append(self.prompt)
        if self.folder:
            (self.folder / f"{self.prompt}.mp4").write_bytes(self.prompt.encode())
        return [f"{self.prompt}.mp4"]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    studio = Studio(tmp_path / "out")
    yield studio
    studio.close()


@contextmanager
def serve(studio: Studio, login: Login | None = None, local: bool = True) -> Iterator[int]:
    """A server of a studio in a thread of its own; yields its port."""
    config = uvicorn.Config(
        make_app(studio, login, local), port=0, log_level="error", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.02)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def fake_works(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Steps]:
    """Makes all jobs of the studio works of the same shape; returns what makes the first of them."""

    def use(**values: Any) -> Steps:
        first = Steps(folder=studio.library.folder, **values)

        def plan(submission: Any) -> Steps:
            return Steps(
                submission["prompt"], first.steps, first.folder, pass_on=first.pass_on, made=first.made
            )

        monkeypatch.setattr(studio, "plan", plan)
        return first

    return use
