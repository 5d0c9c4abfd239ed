"""Scripts: prompts with times."""

from pathlib import Path

import pytest

from core.errors import UserError
from video.sampling.script import Scene, format_script, parse_script, read_script


def test_scenes_of_a_text() -> None:
    scenes = [Scene(0.0, "a panda standing"), Scene(2.5, "a panda waving")]
    assert parse_script("0: a panda standing | 2.5: a panda waving") == scenes
    assert parse_script("0s:a panda standing|2.5 s : a panda waving ") == scenes
    assert parse_script(format_script(scenes)) == scenes
    for plain in ("a panda | a fox", "at 7: 30 a panda", "a panda", "8 pandas"):
        assert parse_script(plain) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1: a panda", "must begin at 0 s, not at 1 s"),
        ("0: a panda | a fox", "'a fox' is no scene"),
        ("0: a panda | 2:", "'2:' is no scene"),
        ("0: a | 3: b | 2: c", "2 s comes after 3 s"),
    ],
)
def test_damaged_scripts(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse_script(text)


def test_files_have_a_scene_per_line(tmp_path: Path) -> None:
    file = tmp_path / "script.txt"
    file.write_text("0: a panda\n\n2: a fox\n")
    assert read_script(file) == "0: a panda | 2: a fox"
    file.write_text("a panda\n")
    with pytest.raises(UserError, match="is no script"):
        read_script(file)
    with pytest.raises(UserError, match="No such file"):
        read_script(tmp_path / "missing.txt")
