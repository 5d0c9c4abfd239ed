"""Atomic writes: a file is either the old one or the new one."""

import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from core.errors import UserError
from core.io.atomic import WriteError, atomic_write, writable_folder


def test_the_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("old")
    with atomic_write(path) as draft:
        draft.write_text("new")
        assert draft.suffix == ".mp4" and path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
def test_an_interruption_leaves_the_old_file_unchanged(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("old")
    with pytest.raises(interruption), atomic_write(path) as draft:
        draft.write_text("half")
        raise interruption
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_an_error_inside_names_the_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    full = pytest.raises(WriteError, match=r"^Cannot write .*/sheet\.png: No space left on device\.$")
    with full, atomic_write(path) as draft, atomic_write(draft):
        raise OSError(28, "No space left on device")
    with pytest.raises(WriteError, match=r"^Cannot write other\.png: full\.$"), atomic_write(path):
        raise WriteError(Path("other.png"), "full")
    assert not os.listdir(tmp_path)


def test_a_folder_is_not_named_after_a_device(tmp_path: Path) -> None:
    for name in ("aux", "con.txt/clips", "Lpt1"):
        with pytest.raises(UserError, match="is the name of a device on Windows"):
            writable_folder(tmp_path / name)
    (tmp_path / "nul").mkdir()
    assert writable_folder(tmp_path / "nul") and writable_folder(tmp_path / "auxiliary")


def test_modes_follow_the_umask_or_the_file_that_is_replaced(tmp_path: Path) -> None:
    path, before = tmp_path / "weights.safetensors", os.umask(0o027)
    try:
        for mode in (0o640, 0o604):
            with atomic_write(path) as draft:
                save_file({"x": np.zeros(2)}, draft)  # which makes files that only their owner can read
            assert stat.S_IMODE(path.stat().st_mode) == mode
            path.chmod(0o604)
    finally:
        os.umask(before)


def test_nothing_is_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, path = tmp_path / "other", tmp_path / "clip.mp4"
    other.write_text("mine")
    path.symlink_to(other)
    with atomic_write(path) as draft:
        draft.write_text("new")
    assert other.read_text() == "mine" and path.read_text() == "new" and not path.is_symlink()
    monkeypatch.setattr("secrets.token_hex", lambda _: "01234567")  # somebody has guessed the draft's name
    (tmp_path / ".clip.01234567.draft.mp4").symlink_to(other)
    with pytest.raises(WriteError, match="File exists"), atomic_write(path):
        pass
    assert other.read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (SafetensorError("Error while serializing: Quota exceeded (os error 122)"), "Quota exceeded"),
        (OSError("encoder error -2 when writing image file"), "encoder error -2 when writing image file"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_one_sentence_with_the_final_name(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    path = tmp_path / "clip.mp4"
    with pytest.raises(WriteError) as raised, atomic_write(path) as draft:
        draft.write_text("half")
        raise error
    assert str(raised.value) == f"Cannot write {path}: {reason}." and not os.listdir(tmp_path)


def test_an_encoder_that_gives_no_reason_has_the_one_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(WriteError, match="No space left on device"), atomic_write(tmp_path / "a.gif"):
        raise OSError("encoder error -2 when writing image file")


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").mkdir()
    refused = pytest.raises(WriteError, match=r"Cannot write .*clip\.mp4: Is a directory")
    with refused, atomic_write(tmp_path / "clip.mp4") as draft:
        draft.touch()
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_folders_are_created_or_raise_user_error(tmp_path: Path) -> None:
    assert writable_folder(tmp_path / "a" / "b").is_dir()
    assert not os.listdir(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(
            UserError, match=f"the folder {folder}: {tmp_path}/file is a file, give a folder."
        ):
            writable_folder(folder)
