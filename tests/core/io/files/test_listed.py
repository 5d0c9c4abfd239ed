"""Files under names that a command chooses: only what a run has made is replaced."""

import os
from pathlib import Path

import pytest

from core.errors import UserError
from core.io.files.listed import LIST, own_files, write_listed


def make(folder: Path, text: str, overwrite: bool = False) -> None:
    with own_files(folder, ["report.json", "sheet.png"], overwrite):
        for name in ("report.json", "sheet.png"):
            with write_listed(folder / name) as draft:
                draft.write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "report"


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != LIST}


def test_a_run_replaces_what_an_earlier_one_has_made(folder: Path) -> None:
    make(folder, "first")
    make(folder, "second")
    assert contents(folder) == {"report.json": "second", "sheet.png": "second"}


@pytest.mark.parametrize("name", ["report.json", "sheet.png"])
@pytest.mark.parametrize("before", ["nothing", "a run"])
def test_files_of_others_are_replaced_only_if_that_is_asked_for(folder: Path, name: str, before: str) -> None:
    folder.mkdir()
    if before == "a run":
        make(folder, "first")
    (folder / name).write_text("mine")
    kept = contents(folder)
    with pytest.raises(UserError, match=rf"{name} exists, and is not as an earlier run.*--overwrite"):
        make(folder, "second")
    assert contents(folder) == kept
    make(folder, "third", overwrite=True)
    make(folder, "fourth")
    assert contents(folder) == {"report.json": "fourth", "sheet.png": "fourth"}


def test_a_folder_or_a_broken_link_is_not_replaced(folder: Path) -> None:
    (folder / "report.json").mkdir(parents=True)
    with pytest.raises(UserError, match=r"report\.json is a folder"):
        make(folder, "x", overwrite=True)
    (folder / "report.json").rmdir()
    (folder / "report.json").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"report\.json exists"):
        make(folder, "x")


@pytest.mark.parametrize("listed", [False, True])
def test_a_kill_leaves_a_file_that_the_next_run_knows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    """listed: the process is killed after the list has the new file, and before the file has its name."""
    make(folder, "first")
    original = Path.replace

    class Killed(BaseException): ...

    def replace(self: Path, target: Path) -> Path:
        if target.name == ("report.json" if listed else LIST):
            raise Killed
        return original(self, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", replace)
        make(folder, "second")
    assert contents(folder) == {"report.json": "first", "sheet.png": "first"}
    make(folder, "third")
    assert contents(folder) == {"report.json": "third", "sheet.png": "third"}


@pytest.mark.parametrize("text", ["", "[]", '{"report.json": 3}', "[" * 100_000, '{"report.json": [3]}'])
def test_a_damaged_list_knows_nothing(folder: Path, text: str) -> None:
    make(folder, "first")
    (folder / LIST).write_text(text)
    with pytest.raises(UserError, match="exists, and is not as"):
        make(folder, "second")
    make(folder, "third", overwrite=True)
    assert sorted(os.listdir(folder)) == [LIST, "report.json", "sheet.png"]
