"""A side of a comparison in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from core.errors import UserError
from core.io.machine import busy_time
from dreamlift.bench.results import Work
from dreamlift.bench.work import count_work

Step = Callable[[], float]
"""Does the measured work once and returns a scalar of its result."""


class Worker:
    """A process that prepares some work once and does it whenever the worker is called.

    A context manager: the process ends with it.

    `work`: of a call, where it is counted. `peak_gb`: GB while it works, the weights included, but not what
    loading them took for a moment. `output`: the last result.
    """

    work: Work | None

    def __init__(
        self,
        device: torch.device,
        threads: int,
        prepare: Callable[..., Step],
        *arguments: Any,
        count: bool = True,
    ) -> None:
        """Starts the process and waits until the work is prepared and done once, untimed.

        prepare: a function of a module, called in the process with `arguments`, which are pickled.
        count: count the work; not where a compiler traces it.

        Raises UserError where the process ends early.
        """
        context = get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, device, threads, prepare, arguments, count), daemon=True
        )
        self._process.start()
        other.close()
        self.work, self.output, self.peak_gb = self._receive()

    def __call__(self) -> float:
        """Does the work once; returns its seconds as `core.io.machine.busy_time` counts them."""
        seconds, self.output, self.peak_gb = self._receive(ask=True)
        return seconds

    def _receive(self, ask: bool = False) -> tuple[Any, float, float]:
        """The next answer of the process. ask: for one. Raises UserError where it has ended."""
        try:
            if ask:
                self._connection.send(True)
            return self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            raise UserError(
                "A process of the benchmark has ended early, as it does where memory does not suffice: give "
                "--quick, or free some memory."
            ) from error

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join()


def _serve(
    connection: Connection,
    device: torch.device,
    threads: int,
    prepare: Callable[..., Step],
    arguments: tuple[Any, ...],
    count: bool,
) -> None:
    """The worker's process: sends work, output and peak memory, and answers every message by its seconds."""
    torch.set_num_threads(threads)
    step = prepare(*arguments)
    reset_peak_memory(device)
    outputs: list[float] = []

    def run() -> None:
        outputs[:] = [step()]

    work = count_work(run) if count else None
    if not count or device.type != "cpu":
        run()  # kernels are chosen in the first plain run
    connection.send((work, *outputs, peak_memory(device)))
    while _asked(connection):
        start = busy_time(device)
        run()
        connection.send((busy_time(device) - start, *outputs, peak_memory(device)))


def _asked(connection: Connection) -> bool:
    """Whether there is another call; False once the worker is closed."""
    try:
        return connection.recv()
    except EOFError:
        return False


def reset_peak_memory(device: torch.device) -> None:
    """Resets `peak_memory` where the system allows it: with CUDA, and on Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with suppress(OSError):  # a kernel or a container without it
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float:
    """Peak memory in GB since `reset_peak_memory`, of PyTorch's allocations on a GPU, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e9
    if sys.platform == "linux":  # whose ru_maxrss begins with that of the process which has started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # bytes on macOS
