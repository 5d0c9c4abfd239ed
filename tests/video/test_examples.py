"""The examples run as they stand."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

import core.bundled

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_first_clip(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "video").symlink_to(tiny_model)
    monkeypatch.setattr(core.bundled, "BUNDLED", tmp_path)
    monkeypatch.setattr(sys, "argv", ["first_clip.py", "a panda on a swing", str(tmp_path / "panda.gif")])
    runpy.run_path(str(EXAMPLES / "first_clip.py"), run_name="__main__")
    with Image.open(tmp_path / "panda.gif") as image:
        assert image.size == (96, 96) and getattr(image, "n_frames", 1) == 16
