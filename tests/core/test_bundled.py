"""Names of models that ship."""

from pathlib import Path

import pytest

from core.bundled import BUNDLED, bundled_model


def test_names_of_models_that_ship_are_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundled_model("bundled") == BUNDLED / "image"
    assert bundled_model(Path("bundled"), "interpolation") == BUNDLED / "interpolation"
    assert bundled_model("emoji") == bundled_model("emoji", "video") == BUNDLED / "emoji"
    assert bundled_model("unclip") == BUNDLED / "unclip"
    assert bundled_model("judge") is None and bundled_model("../bundled") is None


def test_a_model_in_a_folder_of_that_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emoji").mkdir()
    (tmp_path / "emoji" / "1f43c.png").touch()
    assert bundled_model("emoji")  # pictures are no model
    (tmp_path / "emoji" / "config.json").touch()
    assert bundled_model("emoji") is None and bundled_model("./emoji") is None


def test_a_clone_stays_small() -> None:
    sizes = {path.relative_to(BUNDLED): path.stat().st_size for path in BUNDLED.rglob("*.safetensors")}
    assert sum(sizes.values()) <= 56e6
    assert sum(size for path, size in sizes.items() if path.parts[0] == "unclip") <= 8e6
