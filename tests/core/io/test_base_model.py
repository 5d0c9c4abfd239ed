"""Which model a folder rests on, and where the later stages of its cascade are found."""

import shutil
from pathlib import Path

import pytest

from core.bundled import BUNDLED
from core.errors import UserError
from core.io.base_model import Base, base_folder, later_stage
from core.io.weights import load_folder, save_folder


def model(folder: Path, base: Path | None = None) -> Path:
    config = {"base": Base.of(base, folder, load_folder(base).sha256).model_dump()} if base else {}
    save_folder(folder, config, {})
    return folder


def test_a_base_that_ships_is_found_from_anywhere(tmp_path: Path) -> None:
    mine = model(tmp_path / "mine" / "image", BUNDLED / "image")
    moved = shutil.move(mine, tmp_path / "elsewhere")
    assert base_folder(Path(moved)) == BUNDLED / "image"
    assert later_stage(Path(moved), "super_resolution") == BUNDLED / "super_resolution"


def test_another_base_is_found_from_the_folder(tmp_path: Path) -> None:
    first = model(tmp_path / "first" / "image")
    second = model(tmp_path / "second" / "image", first)
    assert base_folder(second) and base_folder(second).samefile(first)
    assert base_folder(first) is None and base_folder(tmp_path) is None
    shutil.move(tmp_path / "first", tmp_path / "away")
    base = Base(folder="../../first/image", sha256="")
    with pytest.raises(UserError, match="There is no model in"):
        base.read(second, load_folder)


def test_a_stage_beside_a_model_comes_before_that_of_its_base(tmp_path: Path) -> None:
    first = model(tmp_path / "first" / "image")
    second = model(tmp_path / "second" / "image", first)
    assert later_stage(second, "interpolation") is None
    (tmp_path / "first" / "interpolation").mkdir()
    found = later_stage(second, "interpolation")
    assert found and found.samefile(tmp_path / "first" / "interpolation")
    (tmp_path / "second" / "interpolation").mkdir()
    assert later_stage(second, "interpolation") == tmp_path / "second" / "interpolation"
