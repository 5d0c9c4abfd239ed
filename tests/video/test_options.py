"""What gen-video makes of a request, before any model is loaded."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.batches.prompt_file import PromptRow
from core.errors import UserError
from core.io.files.names import slug
from core.io.presets import load_preset
from video.find_model import find_model
from video.job import ClipJob, plan_clips, read_prompts
from video.model_reference import describe_rate
from video.options import ClipOptions


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a panda on a swing", "a-panda-on-a-swing"),
        ("  A corgi, wearing a BERET! ", "a-corgi-wearing-a-beret"),
        ("ein Bär im Wald", "ein-bär-im-wald"),
        ("../../etc/passwd", "etc-passwd"),
        ("!?", "nameless"),
    ],
)
def test_a_prompt_names_its_file(prompt: str, name: str) -> None:
    assert slug(prompt) == name


@given(st.text(min_size=1, max_size=300))
def test_every_name_is_one_short_path_component(prompt: str) -> None:
    name = slug(prompt)
    assert 1 <= len(name) <= 48 and Path(name).name == name and not name.startswith((".", "-"))


def rows(*prompts: str) -> list[PromptRow]:
    return [PromptRow(prompt) for prompt in prompts]


def test_clips_are_numbered_and_seeded(tmp_path: Path) -> None:
    jobs = plan_clips(rows("a fox", "a bear", "a fox!"), 2, 7, f"{tmp_path}/new/")
    assert [job.clip.name for job in jobs] == [
        "a-fox.mp4", "a-fox-2.mp4", "a-bear.mp4", "a-bear-2.mp4", "a-fox-3.mp4", "a-fox-4.mp4",
    ]  # fmt: skip
    assert [job.seed for job in jobs] == [7, 8] * 3
    assert {job.clip.parent for job in jobs} == {tmp_path / "new"}

    jobs = plan_clips(rows("a fox", "a bear"), 2, 0, str(tmp_path / "v1.2.gif"))
    assert [job.clip.name for job in jobs] == ["v1.2.gif", "v1.2-2.gif", "v1.2-3.gif", "v1.2-4.gif"]
    assert jobs[0].sheet.name == "v1.2.sheet.png"
    assert jobs[0].files.record.name == "v1.2.gen-video.json"


def test_names_never_meet(tmp_path: Path) -> None:
    jobs = plan_clips(rows("a fox", "a fox 2", "a fox", "a fox 2"), 2, 0, str(tmp_path))
    assert len({job.clip for job in jobs}) == 8


def test_prompts_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a fox\n\n  ein Bär  \r\n", encoding="utf-8")
    found = read_prompts(None, tmp_path / "prompts.txt")
    assert [row.prompt for row in found] == ["a fox", "ein Bär"]
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for name, reason in [("blank", "no prompt"), ("binary", "not UTF-8"), ("none", "No such file")]:
        with pytest.raises(UserError, match=reason):
            read_prompts(None, tmp_path / f"{name}.txt")


def test_options_given_outdo_the_preset() -> None:
    preset = ClipOptions(steps=12, guidance=2.5, negative="rain", frames=16, fps=8, scale=6)
    changed = preset.with_changes(steps=None, guidance=0.0, frames=None, negative="")
    assert changed == preset.model_copy(update={"guidance": 0.0, "negative": ""})


@pytest.mark.parametrize("name", ["draft", "standard", "fine"])
def test_presets_that_ship(name: str) -> None:
    load_preset(f"gen-video/{name}", ClipOptions).with_changes()


def test_a_camera_has_both_angles_or_none() -> None:
    bare = ClipOptions(steps=12, guidance=2.5, frames=16, fps=8, scale=6)
    with pytest.raises(UserError, match="give both or neither"):
        bare.with_changes(azimuth=45.0)
    assert bare.with_changes(azimuth=45.0, elevation=0.0).azimuth == 45
    assert load_preset("gen-video/standard", ClipOptions).with_changes(azimuth=45.0).elevation is not None


def test_a_view_and_a_negation_in_words_change_the_options() -> None:
    preset = load_preset("gen-video/standard", ClipOptions)
    assert (preset.azimuth, preset.elevation) == (30, 13)
    job = ClipJob("not a fox but a cat, seen from behind", 0, Path("a.mp4"))
    assert job.adjusted(preset) is preset
    options = job.with_reading(None, None).adjusted(preset)
    assert (options.azimuth, options.elevation, options.negative) == (180, 13, "a fox")
    # A camera given by hand wins, and a negative prompt given by hand is kept.
    given = preset.with_changes(azimuth=45.0, elevation=0.0, negative="blurry")
    options = job.with_reading(45.0, 0.0).adjusted(given)
    assert (options.azimuth, options.elevation, options.negative) == (45, 0, "blurry, a fox")
    without_camera = preset.model_copy(update={"azimuth": None, "elevation": None})
    above = ClipJob("a cat from above", 0, Path("a.mp4")).with_reading(None, None).adjusted(without_camera)
    assert (above.azimuth, above.elevation) == (0, 35)
    plain = ClipJob("a cat dancing", 0, Path("a.mp4")).with_reading(None, None).adjusted(without_camera)
    assert plain == without_camera


@pytest.mark.parametrize(
    ("fps", "sentence"),
    [
        (8.0, ""),
        (16.0, ""),  # temporal super-resolution draws the frames between
        (12.0, "12 frames a second. The model draws 8 a second, so everything moves 1.5 times as fast."),
        (4.0, "4 frames a second. The model draws 8 a second, so everything moves at 0.5 of its speed."),
        (24.0, "24 frames a second. The model draws 8 a second, so everything moves 1.5 times as fast."),
    ],
)
def test_a_rate_that_changes_the_speed_is_described(fps: float, sentence: str) -> None:
    options = load_preset("standard", ClipOptions, "gen-video").with_changes(fps=fps)
    assert describe_rate(find_model(None), options).removeprefix("The file has ") == sentence
