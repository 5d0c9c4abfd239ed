"""Atomic writes: a file is either the old one or the new one."""

import os
from pathlib import Path

import pytest

from core.errors import UserError
from core.io.atomic import atomic_write, writable_folder


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


def test_folders_are_created_or_raise_user_error(tmp_path: Path) -> None:
    assert writable_folder(tmp_path / "a" / "b").is_dir()
    assert not os.listdir(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(
            UserError, match=f"the folder {folder}: {tmp_path}/file is a file, give a folder."
        ):
            writable_folder(folder)
