"""Plans of long clips: every frame is sampled once, and a script is read as it was written."""

import pytest

from core.errors import UserError
from video.plan import OVERLAP, WINDOW, Shot, parse_script, plan_windows


@pytest.mark.parametrize(("frames", "starts"), [(1, [0]), (16, [0]), (17, [0]), (64, [0]), (40, [0, 3, 25])])
def test_windows_cover_every_frame_once_after_what_they_continue(frames: int, starts: list[int]) -> None:
    sampled = 0
    for window in plan_windows(frames, starts):
        assert window.first + window.known == sampled and 1 <= window.count <= WINDOW
        assert window.known == min(OVERLAP, sampled)
        new = range(sampled, window.first + window.count)
        assert all(max(i for i, start in enumerate(starts) if start <= frame) == window.shot for frame in new)
        sampled = window.first + window.count
    assert sampled == frames


def test_one_window_is_sampled_as_before() -> None:
    assert plan_windows(16) == [(0, 16, 0, 0)]


@pytest.mark.parametrize(
    "text", ["0: a fox standing | 2.5: a fox waving", "0s: a fox standing\n\n 2.5 : a fox waving"]
)
def test_a_script_has_a_prompt_for_every_time(text: str) -> None:
    assert parse_script(text) == [Shot(0.0, "a fox standing"), Shot(2.5, "a fox waving")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a fox", "Cannot read 'a fox' of the script"),
        ("1: a fox", "must begin with 0 and ascend, not 1"),
        ("0: a fox | 0: a panda", "must begin with 0 and ascend, not 0, 0"),
        ("0: a fox | 3: a cat | 2: a panda", "not 0, 3, 2"),
        (" | ", "The script is empty"),
        ("0:", "Cannot read '0:'"),
    ],
)
def test_other_scripts_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse_script(text)
