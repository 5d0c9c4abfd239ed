"""Commands in processes that are forked from one which has imported PyTorch.

A new process would spend three seconds on that import, and the tests run hundreds of commands.
"""

import multiprocessing.reduction
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest.mock import patch

TIMEOUT = 300  # seconds
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
PRELOADED = ["video.cli", "video.generate", "dream3d.cli", "dream3d.generate", "dreamlift.cli"]


def run(module: str, words: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs `main` of a module in `folder` with sys.argv `words`, as `subprocess.run` would.

    Raises subprocess.TimeoutExpired after `TIMEOUT`.
    """
    with tempfile.TemporaryFile("w+b") as out, tempfile.TemporaryFile("w+b") as errors:
        descriptors = [multiprocessing.reduction.DupFd(file.fileno()) for file in (out, errors)]
        arguments = module, list(words), folder, os.environ | ENVIRONMENT, *descriptors
        process = _server().Process(target=_main, args=arguments)
        process.start()
        process.join(TIMEOUT)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, TIMEOUT)
        texts: list[str] = []
        for file in (out, errors):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return subprocess.CompletedProcess(words, process.exitcode, *texts)


@lru_cache(maxsize=1)
def _server() -> ForkServerContext:
    """The context with its server, which computes in one thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with patch.dict(os.environ, ENVIRONMENT):
        forkserver.ensure_running()
    return context


def _main(
    module: str,
    words: list[str],
    folder: Path,
    environment: Mapping[str, str],
    out: "multiprocessing.reduction.DupFd",
    errors: "multiprocessing.reduction.DupFd",
) -> None:
    """What the forked process does. Its exit code is that of the command."""
    for number, descriptor in ((1, out), (2, errors)):
        os.dup2(descriptor.detach(), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = words
    sys.stdout, sys.stderr = (
        open(number, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        for number in (1, 2)
    )
    import_module(module).main()
