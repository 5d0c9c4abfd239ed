"""A newcomer's protocol: every command of the first pages, in order, in an empty folder.

Shortened: what makes files is run with --dry-run, which refuses what the run would refuse, and one clip is
made in one step; training is parsed only. Left to installation/matrix.py: cloning and installing. Files that
the pages take for granted are given.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dream3d.cli
import dreamlift.cli
import video.cli
from core.io.clips.write import write_clip

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/five-minutes.md", "docs/clips.md", "docs/objects.md"]
MAINS = {"gen-video": video.cli.main, "dream3d": dream3d.cli.main, "dreamlift": dreamlift.cli.main}
MAKES_FILES = [["gen-video"], ["dream3d"], ["dreamlift", "image"]]
SHELL = ("git", "python3", "pip", "accelerate", "torchrun")  # programs of others
OFFLINE = "is not in the local cache, and HF_HUB_OFFLINE is set"
Run = Callable[[list[str]], tuple[int, str, str]]


def commands(page: str) -> list[list[str]]:
    """The lines of the blocks of code of a page, as words."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = re.findall(r"^    ([a-z].*)$", text, re.M)
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Exit code, stdout and stderr of a command, in a folder with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("core.io.machine.matmul_rate", lambda *_, **__: 10.0)
    monkeypatch.setattr("dream3d.dry_run.matmul_rate", lambda *_, **__: 10.0)
    for name in ("panda.png", "first.png", "last.png"):
        Image.new("RGB", (64, 64), "red").save(tmp_path / name)
    write_clip(tmp_path / "fox.mp4", np.zeros((16, 32, 32, 3), np.uint8), 8)
    (tmp_path / "prompts.csv").write_text("prompt,seed\na fox,3\n")

    def run(words: list[str]) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            MAINS[words[0]]()
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_one_that_runs(page: str, run: Run) -> None:
    lines = commands(page)
    assert lines
    for words in lines:
        if any(words[: len(start)] == start for start in MAKES_FILES):
            own = "--model" in words and words[words.index("--model") + 1].startswith("mine/")
            code, out, err = run([*words, "--help" if own else "--dry-run"])
            assert (code == 0 and out) or (code == 2 and OFFLINE in err), f"{shlex.join(words)}: {err}"
        elif words[0] in MAINS:
            code, _, err = run([*words, "--help"])
            assert code == 0, f"{shlex.join(words)}: {err}"
        elif words[0] == "make":
            plan = subprocess.run(["make", "-n", "-C", ROOT, *words[1:]], capture_output=True, text=True)
            assert plan.returncode == 0, plan.stderr
        else:
            assert words[0] in SHELL or page not in PAGES[:2], f"{page}: {shlex.join(words)}"


def test_the_first_clip_is_there(run: Run, tmp_path: Path) -> None:
    words = next(words for words in commands("README.md") if words[0] == "gen-video")
    code, out, _ = run([*words, "--steps", "1", "--frames", "2", "--super-resolution", "0", "--quiet"])
    assert (code, out) == (0, "a-panda-on-a-swing.mp4\n")
    assert {path.suffix for path in tmp_path.glob("a-panda-on-a-swing.*")} == {".mp4", ".png", ".json"}
