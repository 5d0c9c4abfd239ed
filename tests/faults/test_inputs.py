"""The harness of bad input: what it calls wrong, and a short run of it."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults import bad_files, values
from benchmarks.faults.commands import LEGAL, options
from benchmarks.faults.inputs import cases
from benchmarks.faults.trial import ACCEPTED, _state
from core.batches.prompt_file import read_prompt_file
from core.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("code", "text", "state"),
    [
        (2, "draw: --fps cannot be nan.\n", "refused"),
        (2, "a note\ndraw: --fps cannot be nan.\n", "refused"),
        (2, "", "unclear"),
        (2, "draw: one.\ndraw: two.\n", "unclear"),
        (2, "draw: one.\nand more\n", "unclear"),
        (1, "draw: --fps cannot be nan.\n", "traceback"),
        (2, "Traceback (most recent call last):\ndraw: stopped.\n", "traceback"),
        (-signal.SIGSEGV, "", "traceback"),
        (-signal.SIGXCPU, "", "too slow"),
        (0, "", "accepted"),
        (ACCEPTED, "", "accepted"),
    ],
)
def test_only_one_sentence_at_the_end_is_a_refusal(code: int, text: str, state: str) -> None:
    assert _state(code, text, "draw") == state


def test_every_option_of_the_commands_is_attacked() -> None:
    known = options()
    assert {option.command for option in known} == set(LEGAL)
    flags = {(option.command, option.flag): option for option in known}
    assert (
        flags["gen-video", "--interpolate"].values == 2 and flags["gen-video", "--interpolate"].kind == "path"
    )
    assert (
        flags["dreamlift train image", "--fps"].kind == "float"
        and flags["dream3d", "--seed"].kind == "integer"
    )
    for option in known:
        assert option.kind in values.BAD or option.kind == "boolean", option
    drawn = list(cases(3000, 0))
    flagged = {part for case in drawn for part in case.arguments}
    missing = {option.flag for option in known if option.kind != "boolean"} - {
        os.fsdecode(f) for f in flagged
    }
    assert len(missing - {""}) < 10, missing


def test_a_bad_file_of_prompts_is_not_all_bad(tmp_path: Path) -> None:
    """Each list of bad rows is refused row by row, and not because of how the file is written."""
    good = tmp_path / "good.jsonl"
    good.write_text('{"prompt": "a fox"}\n')
    assert read_prompt_file(good)[0].prompt == "a fox"
    name, content = bad_files.bad_prompts(random.Random(1), next(o for o in options() if o.name == "prompts"))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError):
        read_prompt_file(tmp_path / name)


def test_bad_input_is_refused_in_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", "inputs", "--count", "108", "--seed", "2"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n108 cases, 0 wrong, " in done.stdout
