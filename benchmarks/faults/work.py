"""Long commands with little work, in forked processes that a trial can kill."""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image

LIMIT = 300.0  # s of a run
OBJECT = """\
iterations: 8
views: 2
learning_rate: 0.2
texture: 64
faces: 2000
turn: 4
target_buffer: {size: 4, refresh_every: 2, views_per_step: 3, pixel_stride: 2}
stages: [{share: 1, size: 16, samples: 16, grid: 16, guidance: 2.0}]
"""
IMAGE = """\
model: {size: 8, network: {patch: 2, widths: [32], blocks: [1], attention: [true]}}
clip_frames: false
objects: false
training: {batch_size: 4, compile: false, log_steps: 1, warmup_steps: 0, decay: 0.0, checkpoint_minutes: 0}
"""
PROMPTS = "prompt,seed,out\na fox waving,1,one.gif\na panda,2,two.gif\na cat,3,\n"
SHORT = ["--preset", "draft", "--frames", "2", "--steps", "2", "--super-resolution", "0", "--device", "cpu"]


@dataclass(frozen=True)
class Work:
    """A command: what it is called with, what shows that it can resume, and which results are compared."""

    name: str
    arguments: Sequence[str]  # {given} is the folder of `write_given`
    results: Sequence[str]  # patterns of files that have the same bytes after every run
    resume: Sequence[str] = ()  # arguments of a run that goes on
    checkpoint: str = ""  # which does so only where this file is
    locks: bool = True  # whether a second process is refused

    def given(self, folder: Path, inputs: Path) -> list[str]:
        """The arguments of the next run in a folder."""
        goes_on = not self.checkpoint or (folder / self.checkpoint).exists()
        more = self.resume if goes_on else ()
        return [argument.replace("{given}", str(inputs)) for argument in (*self.arguments, *more)]


WORKS = (
    Work("gen-video", ["gen-video", "a fox", "--out", "fox.mp4", *SHORT], ["fox.mp4", "fox.sheet.png"]),
    Work(
        "dream3d",
        ["dream3d", "a fox", "--out", "fox.obj", "--preset", "{given}/object.yaml", "--device", "cpu"],
        ["fox.*[!n]", "fox.*.png", "fox.*.mp4"],
        ["--resume"],
        "fox.checkpoint.safetensors",
    ),
    Work(
        "train",
        ["dreamlift", "train", "image", "--data", "{given}/pictures", "--cache", "{given}/cache"]
        + ["--preset", "{given}/image.yaml", "--run", "run", "--steps", "12"],
        ["run/checkpoint.safetensors"],
        ["--resume"],
        "run/preset.json",
    ),
    Work(
        "evaluate",
        ["dreamlift", "evaluate", "image", "--count", "2", "--batch", "2", "--steps", "1", "--size", "64"]
        + ["--out", "evaluation", "--device", "cpu"],
        ["evaluation/*.png"],
    ),
    Work(
        "batch",
        ["gen-video", "--prompts", "{given}/prompts.csv", "--out", "clips/", "--skip-existing", *SHORT],
        ["clips/*.gif", "clips/*.mp4", "clips/*.png"],
        locks=False,  # processes share the rows
    ),
)


def write_given(folder: Path) -> None:
    """Writes the presets, prompts and pictures that the commands read."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    (folder / "object.yaml").write_text(OBJECT, encoding="utf-8")
    (folder / "image.yaml").write_text(IMAGE, encoding="utf-8")
    (folder / "prompts.csv").write_text(PROMPTS, encoding="utf-8")
    rng = np.random.default_rng(0)
    for name in "abcdefgh":
        image = Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8))
        image.save(pictures / f"a rug {name}.png")


def import_all(set_attribute: Callable[[object, str, object], None] = setattr) -> None:
    """Imports what the commands import, once for all forked processes; checkpoints and previews at once."""
    import torch

    import dream3d.generate
    import dreamlift.cli
    import dreamlift.evaluation.evaluate_samples
    import video.cli
    import video.generate

    torch.set_num_threads(1)
    for module, name in ((dream3d.generate, "SAVE_EVERY"), (dream3d.generate, "PREVIEW_EVERY")):
        set_attribute(module, name, 0.0)
    set_attribute(video.generate, "PREVIEW_EVERY", 0.0)
    assert dreamlift.cli and video.cli and dreamlift.evaluation.evaluate_samples


@dataclass
class Run:
    """A command under way in a folder."""

    arguments: Sequence[str]
    folder: Path
    output: Path  # of its stdout and stderr
    process: int = field(init=False)
    began: float = field(init=False)
    code: int | None = field(init=False, default=None)  # the exit code, once it is known

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.process = os.fork()
        if not self.process:
            _call(self.arguments, self.folder, self.output)

    def kill(self, after: float) -> bool:
        """Kills the process so many seconds after its start; returns whether it was still there."""
        if self.wait(self.began + after) is not None:
            return False
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        return True

    def wait(self, until: float | None = None) -> int | None:
        """The exit code; None where the process has not ended by a time of the monotonic clock.

        It is killed after `LIMIT` seconds.
        """
        while self.code is None and (until is None or time.monotonic() < until):
            done, status = os.waitpid(self.process, os.WNOHANG)
            if done:
                self.code = os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() > self.began + LIMIT:
                os.kill(self.process, signal.SIGKILL)
            time.sleep(0.005)
        return self.code

    @property
    def printed(self) -> str:
        """What the process has printed."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    @property
    def is_one_sentence(self) -> bool:
        """Whether the last line is the command's own sentence, and no traceback is there."""
        lines = self.printed.splitlines()
        last = bool(lines) and lines[-1].startswith(f"{self.arguments[0]}: ")
        return last and "Traceback" not in self.printed and ".draft" not in self.printed


def _call(arguments: Sequence[str], folder: Path, output: Path) -> NoReturn:
    """The child: never returns."""
    code = 1
    try:
        import dream3d.cli
        import dreamlift.cli
        import video.cli

        mains = {"gen-video": video.cli.main, "dream3d": dream3d.cli.main, "dreamlift": dreamlift.cli.main}
        os.chdir(folder)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(file, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8") for number in (1, 2))
        sys.argv = [*arguments]
        mains[arguments[0]]()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@dataclass(frozen=True)
class Expected:
    """What a run that nobody disturbs leaves: names of all its files, contents of its results, seconds."""

    names: frozenset[str]
    results: dict[str, bytes]
    seconds: float


def undisturbed(work: Work, folder: Path, inputs: Path) -> Expected:
    """The result of a run in an empty folder. Raises RuntimeError where the run fails."""
    folder.mkdir()
    run = Run(work.given(folder, inputs), folder, folder.with_suffix(".txt"))
    if run.wait() != 0:
        raise RuntimeError(f"{work.name} fails: {run.printed}")
    return Expected(names(folder), results(work, folder), time.monotonic() - run.began)


def names(folder: Path) -> frozenset[str]:
    """All files below a folder."""
    return frozenset(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def results(work: Work, folder: Path) -> dict[str, bytes]:
    """The results of a work in a folder."""
    found = [path for pattern in work.results for path in folder.glob(pattern)]
    return {str(path.relative_to(folder)): contents(path) for path in found if path.suffix != ".json"}


def contents(path: Path) -> bytes:
    """The bytes of a file; of safetensors without the metadata, which hold the time."""
    data = path.read_bytes()
    if path.suffix != ".safetensors":
        return data
    size = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:size])
    header.pop("__metadata__", None)
    return json.dumps(header, sort_keys=True).encode() + data[size:]
