"""Prompts that are longer than the window of a text encoder: cut between words, with a notice."""

import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models.nearest_wording import nearest_wording, within_window
from core.models.text_encoder import MAX_TOKENS, TextEncoder
from core.notice import Notice, notice, print_notices
from core.prompt_window import read_part
from core.toybox.prompts import read_prompt
from video.job import ClipJob

LONG = " ".join(f"thing{number}" for number in range(60))


@given(st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=12), st.integers(1, 12))
def test_as_many_whole_words_as_fit_are_read(words: list[str], window: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = read_part(" ".join(words), window, lambda text: len(text.split()))
    assert part == " ".join(words[:window])


def test_a_word_too_long_by_itself_is_cut_within(recwarn: pytest.WarningsRecorder) -> None:
    assert read_part("abcdefgh", 5, len) == "abcde"
    (notice,) = recwarn.list
    assert (
        notice.category is Notice
        and "takes 5 tokens" in str(notice.message)
        and '"fgh"' in str(notice.message)
    )


def test_the_encoder_reads_what_its_tokenizer_keeps() -> None:
    encoder = TextEncoder()
    with pytest.warns(Notice, match="takes 48 tokens, so the end of the prompt is left out"):
        part = encoder.read(LONG, " on a light blue background")
    ids = encoder.tokenizer.encode(f"{part} on a light blue background").ids
    assert LONG.startswith(f"{part} ") and MAX_TOKENS - 4 <= len(ids) <= MAX_TOKENS
    assert encoder.read("a panda on a swing") == "a panda on a swing"


def test_what_is_filled_in_stays_inside_the_window() -> None:
    with pytest.warns(Notice, match="the end of the prompt is left out"):
        reading = read_prompt(f"a panda {LONG}", 0, nearest=nearest_wording, within=within_window)
    assert reading.text.endswith("background") and reading.text.startswith("a panda")
    assert not TextEncoder().tokenizer.encode(reading.text).overflowing
    scene = ClipJob(f"0: a panda {LONG} | 2: a fox", 0, Path("x.mp4")).with_reading(None, None)
    assert "background | 2: a fox" in scene.text


def test_notices_are_single_lines_on_stderr_each_once(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        print_notices()
        for _ in range(2):
            notice("Something\nwas cut.")
    assert capsys.readouterr().err == "Something was cut.\n"
