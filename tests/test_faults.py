"""A quick part of `python -m benchmarks.faults`: a clip killed, on a small disk, and twice at once."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults import disks, kills, pairs
from benchmarks.faults.work import WORKS, Expected, Work, import_all, undisturbed, write_given

WORK = {work.name: work for work in WORKS}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        import_all(patch.setattr)
        folder = tmp_path_factory.mktemp("faults") / "given"
        write_given(folder)
        yield folder


@pytest.fixture(scope="module")
def clip(inputs: Path) -> Expected:
    """What an undisturbed clip leaves."""
    return undisturbed(WORK["gen-video"], inputs.with_name("clip"), inputs)


class Half(random.Random):
    """Chance that takes the middle of every range, one kill, and a kind of disk."""

    def __init__(self, kind: str = "small") -> None:
        super().__init__(0)
        self.kind = kind

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2

    def randint(self, a: int, b: int) -> int:
        return a

    def choice(self, seq: object) -> object:
        return self.kind


def test_a_killed_run_is_made_again(inputs: Path, clip: Expected, tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    folder.mkdir()
    assert kills.kill(WORK["gen-video"], clip, folder, inputs, Half()) in kills.GOOD


@pytest.mark.parametrize("kind", ["small", "filled", "gone"])
def test_a_disk_that_is_too_small(inputs: Path, clip: Expected, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "trial"
    folder.mkdir()
    assert disks.fill(WORK["gen-video"], clip, folder, inputs, Half(kind)) in disks.GOOD


def test_two_processes_on_one_output(inputs: Path, clip: Expected, tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    folder.mkdir()
    assert pairs.pair(WORK["gen-video"], clip, folder, inputs, Half()) in pairs.GOOD


def test_a_file_that_is_left_behind_or_differs_is_told_apart(inputs: Path, tmp_path: Path) -> None:
    """The trials themselves, with a command that leaves too much."""
    untidy = Work("gen-video", ["gen-video", "--help"], ["fox.mp4"])
    folder = tmp_path / "trial"
    folder.mkdir()
    nothing = Expected(frozenset(), {}, 0.1)
    assert kills.kill(untidy, nothing, folder, inputs, Half()) in kills.GOOD
    (folder / ".fox.draft").touch()
    assert kills.kill(untidy, nothing, folder, inputs, Half()) == "left behind: ['.fox.draft']"
    assert pairs.pair(untidy, nothing, folder, inputs, Half()) == "left behind: ['.fox.draft']"
    (folder / "fox.mp4").write_text("half")
    assert kills.kill(untidy, nothing, folder, inputs, Half()) == "other bytes"
    assert pairs.pair(untidy, nothing, folder, inputs, Half()) == "damaged"
