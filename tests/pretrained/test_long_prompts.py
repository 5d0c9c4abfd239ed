"""Prompts longer than the windows of checkpoints' text encoders: cut with a line, and recorded."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.notice import Notice
from core.pretrained.image_model import load_image_model
from tests.pretrained.conftest import GenVideo
from video.record import RunRecord

WORDS = "abc " * 300


@pytest.mark.parametrize(
    ("name", "width", "frames", "window"), [("modelscope", 32, 3, 77), ("ltx", 64, 9, 128)]
)
def test_the_record_has_what_was_read(
    video_folder: Callable[[str], Path],
    tmp_path: Path,
    gen_video: GenVideo,
    name: str,
    width: int,
    frames: int,
    window: int,
) -> None:
    size = ["--width", width, "--height", 32, "--frames", frames, "--steps", 2, "--no-tiling", "--force"]
    code, printed = gen_video(
        WORDS, "--model", video_folder(name), *size, "--device", "cpu", "--out", "x.mp4"
    )
    assert code == 0, printed
    assert printed.count(f"The text encoder takes {window} tokens, so the end of the prompt is left out") == 1
    record = RunRecord.model_validate_json((tmp_path / "x.gen-video.json").read_text())
    assert record.prompt == WORDS.strip() and record.read
    assert record.prompt.startswith(record.read) and len(record.read) < len(record.prompt)


@pytest.mark.parametrize("kind", ["sd_eps", "sdxl", "deepfloyd"])
def test_image_models_read_a_prompt_with_what_follows_it(kind: str, request: pytest.FixtureRequest) -> None:
    model = load_image_model(request.getfixturevalue(kind))
    with pytest.warns(Notice, match="takes 77 tokens"):
        part = model.read(WORDS, ", front view")
    short = model.encode([f"{part}, front view"]).tokens
    longer = model.encode([f"{part}, front view and more"]).tokens
    assert not short.equal(model.encode([f"{part}, back view"]).tokens)  # the view is inside the window
    assert WORDS.startswith(part) and short.shape == longer.shape
