"""Outputs appear whole: locked, drafted, completed or cleared away after a kill at any moment."""

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import UserError
from core.io.atomic import WriteError, atomic_write
from core.io.files.locks import FOLDER_LOCK, lock_folder
from core.io.files.names import OutputFiles, OutputKind, numbered
from core.io.files.output_set import claim, draft_output, recover_all
from core.io.files.record import digests, foreign

KIND = OutputKind("draw", "clip", (".mp4",), (".sheet.png",), preview=".preview.png", checkpoint=".latents")
NAMES = ["fox.draw.json", "fox.mp4", "fox.sheet.png"]
FORK = multiprocessing.get_context("fork")  # of a process without threads: the test below imports no torch


def write(files: OutputFiles, text: str) -> None:
    for path in files.lasting[:-1]:
        with atomic_write(path) as draft:
            draft.write_text(f"{text}: {path.name}")
    record = {"prompt": text, "seed": 0, "files": digests(files.lasting[:-1])}
    with atomic_write(files.record) as draft:
        draft.write_text(json.dumps(record))


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    files = KIND.files(tmp_path / "fox.mp4")
    with draft_output(files) as drafts:
        write(drafts, "old")
        assert not [path for path in files.lasting if path.exists()]
    before = contents(tmp_path)
    assert sorted(before) == NAMES and before["fox.mp4"] == "old: fox.mp4"
    for error in (RuntimeError("x"), KeyboardInterrupt(), UserError("x")):
        with pytest.raises(type(error)), draft_output(files) as drafts:
            write(drafts, "new")
            raise error
    full = pytest.raises(WriteError, match=r"^Cannot write .*/fox\.mp4: No space left on device\.$")
    with full, draft_output(files) as drafts, atomic_write(drafts.output):
        raise OSError(28, "No space left on device")
    assert contents(tmp_path) == before


def test_what_appears_while_an_output_is_made_is_not_replaced(tmp_path: Path) -> None:
    files = KIND.files(tmp_path / "fox.mp4")
    refused = pytest.raises(UserError, match=r"fox\.sheet\.png has appeared.*kept in .*draw\.kept-1")
    with refused, draft_output(files) as drafts:
        write(drafts, "new")
        (tmp_path / "fox.sheet.png").write_text("mine")
    assert sorted(os.listdir(tmp_path)) == ["fox.draw.kept-1", "fox.sheet.png"]
    assert sorted(os.listdir(tmp_path / "fox.draw.kept-1")) == NAMES
    assert (tmp_path / "fox.sheet.png").read_text() == "mine"


class Killed(BaseException):
    """In place of SIGKILL, for the code that is tested."""


@pytest.mark.parametrize("named", range(4))
@pytest.mark.parametrize("replaced", ["nothing", "older", "others"])
def test_a_kill_between_two_names_is_completed_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: int, replaced: str
) -> None:
    """named: files that have their names when the process is killed. replaced: what is there before."""
    files, kept = KIND.files(tmp_path / "fox.mp4"), tmp_path / "kept"
    kept.mkdir()
    if replaced == "older":
        write(files, "old")
    elif replaced == "others":  # which --overwrite replaces
        for name in NAMES:
            (tmp_path / name).write_text(name)
    original, count = Path.replace, 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal count
        if self.parent != tmp_path and target.parent == tmp_path:
            if count == named:
                raise Killed
            count += 1
        return original(self, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", replace)
        with draft_output(files, files.lasting if replaced == "others" else []) as drafts:
            write(drafts, "new")
            if named == 3:
                raise Killed
    kept.rmdir()
    recover_all(tmp_path, KIND)
    found = contents(tmp_path)
    if named == 3:  # before anything was complete
        assert (
            sorted(found) == ([] if replaced == "nothing" else NAMES) and "new: fox.mp4" not in found.values()
        )
    else:
        assert sorted(found) == NAMES and found["fox.mp4"] == "new: fox.mp4"
        assert json.loads(found["fox.draw.json"])["prompt"] == "new"


@pytest.mark.parametrize("name", NAMES)
def test_what_changed_after_a_kill_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """--overwrite was for what was there then."""
    files = KIND.files(tmp_path / "fox.mp4")
    for each in NAMES:
        (tmp_path / each).write_text("others")

    def killed(self: Path, target: Path) -> Path:
        if target.parent == tmp_path:
            raise Killed
        return original(self, target)

    original = Path.replace
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", killed)
        with draft_output(files, files.lasting) as drafts:
            write(drafts, "new")
    (tmp_path / name).write_text("mine")
    recover_all(tmp_path, KIND)
    assert contents(tmp_path) == dict.fromkeys(NAMES, "others") | {name: "mine"}


def hold(folder: Path, started: Callable[[], None]) -> None:
    """Makes an output and never ends."""
    files = KIND.files(folder / "fox.mp4")
    with claim(files, wait=False) as mine, draft_output(files) as drafts:
        assert mine
        files.preview.write_text("preview")
        with atomic_write(drafts.output):
            started()
            time.sleep(60)


def test_a_lock_ends_with_its_process_and_what_it_left_is_swept(tmp_path: Path) -> None:
    for name in (".fox.x.mp4", ".hidden", ".other.draw.0123.draft"):
        (tmp_path / name).touch()
    others = sorted(os.listdir(tmp_path))
    started = FORK.Event()
    process = FORK.Process(target=hold, args=(tmp_path, started.set))
    process.start()
    assert started.wait(60)
    files = KIND.files(tmp_path / "fox.mp4")
    with claim(files, wait=False) as mine:
        assert not mine
    recover_all(tmp_path, KIND)
    assert files.preview.exists() and len(os.listdir(tmp_path)) == len(others) + 3
    process.kill()
    process.join()
    assert files.lock.exists()
    recover_all(tmp_path, KIND)
    assert sorted(os.listdir(tmp_path)) == others


def test_one_process_writes_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with lock_folder(folder):
        assert os.listdir(folder) == [FOLDER_LOCK]
        with pytest.raises(UserError, match="Another process is writing into .*run"), lock_folder(folder):
            pass
    assert not folder.exists()  # nothing was written into it
    folder.mkdir()
    (folder / ".model.0123abcd.draft.safetensors").touch()
    with lock_folder(folder):
        pass
    assert folder.exists() and not os.listdir(folder)


def test_a_checkpoint_older_than_its_output_is_done_with(tmp_path: Path) -> None:
    files = KIND.files(tmp_path / "fox.mp4")
    files.checkpoint.write_text("x")
    write(files, "a fox")
    files.lock.touch()
    recover_all(tmp_path, KIND)
    assert sorted(os.listdir(tmp_path)) == NAMES
    files.lock.touch()
    files.checkpoint.write_text("of the next run")
    os.utime(files.record, (0, 0))
    recover_all(tmp_path, KIND)
    assert files.checkpoint.exists() and not foreign(files)


STILLS = OutputKind("draw", "clip", (".mp4", ".png"), (".sheet.png",), numbered=frozenset((".png",)))


def write_frames(files: OutputFiles, count: int, text: str) -> None:
    """An output of numbered files, as a run writes it."""
    frames = [numbered(files.output, number) for number in range(1, count + 1)]
    for path in (*frames, files.beside(".sheet.png")):
        path.write_text(f"{text}: {path.name}")
    record = {"prompt": text, "seed": 0, "files": digests([*frames, files.beside(".sheet.png")])}
    files.record.write_text(json.dumps(record))


def test_numbered_files_are_one_output(tmp_path: Path) -> None:
    files = STILLS.files(tmp_path / "fox.png")
    for count in (3, 2, 4):  # the frames of a longer run before go with it
        with draft_output(files) as drafts:
            write_frames(drafts, count, str(count))
        expected = [f"fox.{number:04}.png" for number in range(1, count + 1)]
        assert sorted(os.listdir(tmp_path)) == [*expected, "fox.draw.json", "fox.sheet.png"]
        assert files.main.read_text() == f"{count}: fox.0001.png" and not foreign(files)
    (tmp_path / "fox.0009.png").write_text("mine")
    assert foreign(files) == [tmp_path / "fox.0009.png"]
    with pytest.raises(UserError, match=r"fox\.0009\.png has appeared"), draft_output(files) as drafts:
        write_frames(drafts, 2, "2")
    with draft_output(files, files.lasting) as drafts:
        write_frames(drafts, 2, "2")
    assert (tmp_path / "fox.0009.png").read_text() == "mine" and not (tmp_path / "fox.0003.png").exists()


def test_numbered_files_of_a_killed_run_are_completed(tmp_path: Path) -> None:
    draft = tmp_path / ".fox.draw.00c0ffee.draft"
    draft.mkdir()
    write_frames(STILLS.files(draft / "fox.png"), 2, "new")
    recover_all(tmp_path, STILLS)
    assert sorted(os.listdir(tmp_path)) == ["fox.0001.png", "fox.0002.png", "fox.draw.json", "fox.sheet.png"]


def test_what_a_run_no_longer_writes_is_deleted_unless_it_was_changed(tmp_path: Path) -> None:
    files = KIND.files(tmp_path / "fox.mp4")
    for changed in (False, True):
        with draft_output(files) as drafts:
            write(drafts, "old")
        if changed:
            (tmp_path / "fox.sheet.png").write_text("mine")
        with draft_output(files, files.lasting) as drafts:
            write(drafts, "new")
            (drafts.output.parent / "fox.sheet.png").unlink()
        assert (tmp_path / "fox.sheet.png").exists() == changed
        assert files.output.read_text() == "new: fox.mp4"
