"""Comparing a replayed run with its record."""

from pathlib import Path

import pytest

from core.errors import UserError
from core.io.files.replay import differences, other_files, read_record_of, replay_name, report
from video.job import CLIP


def test_files_are_compared_in_their_order_but_for_those_that_quote_names() -> None:
    before = {"fox.obj": "1", "fox.mtl": "2", "fox.glb": "3", "fox.html": "4", "fox.views.png": "5"}
    after = {"new.obj": "9", "new.mtl": "9", "new.glb": "3", "new.html": "9", "new.views.png": "5"}
    assert other_files(before, after) == []
    assert other_files(before, after | {"new.glb": "9"}) == ["new.glb"]


def test_what_differs_is_named_with_both_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert differences({"torch": "2.6", "dtype": "float32"}, {"torch": "2.7", "dtype": "float32"}) == (
        "torch 2.6 then, 2.7 now"
    )
    assert differences({"peft": "1"}, {}) == "peft 1 then, - now"
    assert report(Path("r.json"), Path("x.mp4"), [], "")
    assert capsys.readouterr().err == "x.mp4: the same bytes as the files of r.json.\n"
    assert not report(Path("r.json"), Path("x.mp4"), ["x.mp4"], "")
    assert "nothing that the record knows of" in capsys.readouterr().err


def test_a_name_is_made_of_the_main_file() -> None:
    assert replay_name({"fox.gif": "1", "fox.sheet.png": "2"}, Path("r.json"), CLIP) == "fox-replay.gif"
    assert replay_name({"fox.0001.png": "1", "fox.0002.png": "2"}, Path("r.json"), CLIP) == "fox-replay.png"
    with pytest.raises(UserError, match="names no files"):
        replay_name({}, Path("r.json"), CLIP)
    with pytest.raises(UserError, match="r.json is no record of dream3d: give the .dream3d.json"):
        read_record_of(Path("r.json"), lambda path: None, "dream3d")
