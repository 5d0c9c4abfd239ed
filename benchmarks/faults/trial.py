"""One call of a command in a forked process, which ends where the work would begin."""

import importlib
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.faults.commands import MAINS

HEAVY = (
    "dream3d.generate",
    "dreamlift.evaluation.evaluate_objects",
    "dreamlift.evaluation.evaluate_samples",
    "dreamlift.studio.server",
    "dreamlift.text_to_image",
    "video.generate",
)
ACCEPTED, TRACEBACK = 77, 1
MEMORY = 6 * 2**30  # bytes above those of the parent that a call may ask for


class WorkBegins(BaseException):
    """Raised in place of reading weights, rendering or training."""


@dataclass(frozen=True)
class Outcome:
    """How a call ended. state: "refused", "accepted", "traceback", "too slow" or "unclear"."""

    state: str
    output: str
    seconds: float


def begin(*_: Any, **__: Any) -> NoReturn:
    """Takes the place of the functions with which the work begins."""
    raise WorkBegins


def stub_the_work() -> None:
    """Imports what the commands import, and ends every command where its work begins."""
    import uvicorn

    import core.data.prepare
    import core.io.machine
    import core.io.weights
    import core.models.text_encoder
    import core.toybox.dataset
    import core.toybox.scene_views
    import core.toybox.sheets
    import core.training.checkpoint
    import core.training.trainer
    import dreamlift.evaluation.faces.training
    import dreamlift.evaluation.judge_training

    for module in HEAVY:
        importlib.import_module(module)
    core.io.weights.load_file = begin
    core.models.text_encoder.TextEncoder.__init__ = begin
    core.data.prepare.prepare = begin
    core.io.machine.matmul_rate = begin
    core.toybox.dataset.write_dataset = begin
    core.toybox.scene_views.render_clip = begin
    core.toybox.sheets.SHEETS.update(dict.fromkeys(core.toybox.sheets.SHEETS, begin))
    core.training.trainer.Trainer.run = begin
    core.training.checkpoint.read_ema = begin
    dreamlift.evaluation.judge_training.train_judge = begin
    uvicorn.Server.run = begin
    dreamlift.evaluation.faces.training.render_faces = begin


def call(arguments: Sequence[bytes], folder: Path, limit: float) -> Outcome:
    """Calls a command by its name and arguments, in a folder. limit: seconds of the processor and in all."""
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        child = os.fork()
        if not child:
            _run([os.fsdecode(argument) for argument in arguments], folder, output.fileno(), limit)
        code = _wait(child, began + 6 * limit)
        seconds = time.monotonic() - began
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Outcome(_state(code, text, Path(os.fsdecode(arguments[0])).name), text, seconds)


def _run(arguments: list[str], folder: Path, output: int, limit: float) -> NoReturn:
    """The child: never returns."""
    code = TRACEBACK
    try:
        os.chdir(folder)
        for number in (1, 2):
            os.dup2(output, number)
        seconds = int(limit)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))
        most = _memory() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = arguments
        MAINS[arguments[0]]()
    except WorkBegins:
        code = ACCEPTED
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else TRACEBACK
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _memory() -> int:
    """Address space of this process, bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    return pages * resource.getpagesize()


def _wait(child: int, deadline: float) -> int:
    """Exit code of a child, which is killed at the deadline; negative where a signal ended it."""
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGXCPU


def _state(code: int, text: str, name: str) -> str:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "too slow"
    if "Traceback (most recent call last)" in text or code not in (0, 2, ACCEPTED):
        return "traceback"
    lines = text.splitlines()
    if code == 2:
        sentences = [line for line in lines if line.startswith(f"{name}: ")]
        return "refused" if len(sentences) == 1 and lines[-1] == sentences[0] else "unclear"
    return "accepted"
