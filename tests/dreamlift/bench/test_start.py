"""`dreamlift bench start` at toy size: short scripts in place of the commands."""

import sys
from pathlib import Path

import pytest
import torch

from core.errors import UserError
from dreamlift.bench.plan import Settings
from dreamlift.bench.suites import start


def test_processor_time_of_a_process_is_that_of_its_work(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 1: pass"
    idle = "import time\ntime.sleep(1)"
    worked, slept = (start.run_python(script, tmp_path) for script in (busy, idle))
    assert worked - slept > 0.5


def test_a_command_that_fails_is_named_by_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ValueError: no such thing"):
        start.run_python("raise ValueError('no such thing')", tmp_path)


def test_every_command_has_a_row_and_its_help_prints_its_usage(tmp_path: Path) -> None:
    for command in start.COMMANDS:
        assert f"{command} --help" in [row.title for row in start.rows()]
    script = start.MAIN.format(arguments=["gen-video", "--help"], module=start.COMMANDS["gen-video"])
    done = start.subprocess.run(
        [sys.executable, "-c", script], env=start.environment(), capture_output=True, text=True, cwd=tmp_path
    )
    assert "Usage: gen-video" in done.stdout


def test_a_process_ends_at_its_first_network_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that works for 0.2 s of the processor, calls a network, and would then write a file."""
    (tmp_path / "toy.py").write_text(
        "import time, torch\n"
        "def main():\n"
        "    end = time.process_time() + 0.2\n"
        "    while time.process_time() < end: pass\n"
        "    torch.nn.Identity()(torch.zeros(1))\n"
        "    open('after', 'w').close()\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(start, "COMMANDS", {"toy": "toy"})
    monkeypatch.setattr(start, "NETWORKS", {"toy": ()})
    (_, row) = start.rows()
    settings = Settings(torch.device("cpu"), tmp_path, repeats=1)
    # Clocks of processes may count in steps of milliseconds.
    assert row.measure(settings).relative(start.TORCH).median > 0.19
    assert not (tmp_path / "after").exists()
