"""`dreamlift bench start`: `--help` of the commands, and the way from the start to the first network call."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from core.errors import UserError
from dreamlift.bench.plan import Row, Settings, compare
from dreamlift.bench.results import OURS, Comparison
from dreamlift.bench.rounds import Side

COMMANDS = {  # command line -> module of its entry point
    "gen-video": "video.cli",
    "dream3d": "dream3d.cli",
    "dreamlift": "dreamlift.cli",
    "dreamlift image": "dreamlift.cli",
    "dreamlift train": "dreamlift.cli",
    "dreamlift evaluate": "dreamlift.cli",
}
NETWORKS = {
    "gen-video": ("a panda on a swing", "--out", "clip.mp4", "--no-preview"),
    "dream3d": ("a fox", "--out", "fox.obj", "--no-preview"),
}
NOTHING, TORCH = "python -c pass", "import torch"
MAIN = "import sys\nsys.argv = {arguments!r}\nfrom {module} import main\nmain()\n"
# Ends at the first call of any module: prints the processor time after torch's import, and then.
FIRST_CALL = """
import os, time, torch
torch.set_num_threads({threads})
imported = time.process_time()
def stop(*_):
    print(imported, time.process_time(), flush=True)
    os._exit(0)
torch.nn.modules.module.register_module_forward_pre_hook(stop)
"""


def rows() -> list[Row]:
    """The rows of the suite."""
    helps = [Row(f"{command} --help", partial(_help, command)) for command in COMMANDS]
    return helps + [
        Row(f"{command} to its first network call", partial(_first_call, command)) for command in NETWORKS
    ]


def _help(command: str, settings: Settings) -> Comparison:
    name, *rest = command.split()
    script = MAIN.format(arguments=[name, *rest, "--help"], module=COMMANDS[command])
    sides: dict[str, Side | None] = {
        OURS: partial(run_python, script, settings.folder),
        NOTHING: partial(run_python, "pass", settings.folder),
    }
    return compare("`--help`", f"`{command}`", sides, settings.repeats, per="process", relation="difference")


def run_python(script: str, folder: Path) -> float:
    """Processor time of a new Python process that runs a script in a folder.

    Raises UserError where it fails.
    """
    start = children_time()
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment(), capture_output=True, text=True
    )
    if done.returncode:
        raise UserError(f"A command of the benchmark has failed: {done.stderr.strip().splitlines()[-1]}")
    return children_time() - start


def children_time() -> float:
    """Processor time of all ended child processes; the time of day where the system does not count it."""
    try:
        import resource
    except ImportError:
        return time.perf_counter()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def environment() -> Mapping[str, str]:
    """Variables of the processes: modules are found as in this one, and compiled once, as for a user."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}


def _first_call(command: str, settings: Settings) -> Comparison:
    """Both sides are of one process: the first ends at torch's import, ours at the first network call."""
    script = FIRST_CALL.format(threads=settings.threads)
    script += MAIN.format(arguments=[command, *NETWORKS[command]], module=COMMANDS[command])
    measured: dict[str, float] = {}

    def first_call() -> float:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=settings.folder,
            env=environment(),
            capture_output=True,
            text=True,
        )
        try:
            measured[TORCH], total = map(float, done.stdout.split())
        except ValueError as error:
            raise UserError(f"{command} has called no network: {done.stderr.strip()[-200:]}") from error
        return total

    sides: dict[str, Side | None] = {OURS: first_call, TORCH: lambda: measured[TORCH]}
    return compare(
        "From the start to the first network call",
        f"`{command}`",
        sides,
        settings.repeats,
        per="process",
        relation="difference",
    )
