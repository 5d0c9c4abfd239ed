"""`dreamlift image`: the front door's images, as files."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.command_line.reporting import report_as
from core.errors import UserError
from core.io.files.plan import PlannedOutput
from dreamlift.commands.image import image, report_picture
from dreamlift.text_to_image import TextToImage

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_files_are_the_images_of_the_front_door(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image("a fox, seen from behind", f"{tmp_path}/", num=2, seed=3, steps=2, super_resolution=0)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["64x64, seed 3", "64x64, seed 4"]
    draws = TextToImage.from_pretrained("bundled")
    for path, seed in zip(sorted(tmp_path.glob("*.png")), (4, 3), strict=True):
        expected = draws("a fox, seen from behind", seed=seed, num_inference_steps=2, super_resolution=0)
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(expected.image)), path


def test_what_cannot_be_drawn_is_one_line_on_stderr(command: Command) -> None:
    options = ("--elevation", 60, "--steps", 1, "--super-resolution", 0, "--out", "wolf.png")
    result = command("dreamlift", "image", "a wolf in the snow", *options)
    assert result.returncode == 0 and result.stderr.splitlines() == [
        'The bundled model does not know "wolf" and draws "a fox" instead.',
        "The bundled model is trained on elevations from -8 to 45 degrees: at 60 figures may fall apart.",
    ]
    quiet = command("dreamlift", "image", "a wolf in the snow", *options, "--overwrite", "--quiet")
    assert (quiet.returncode, quiet.stderr, quiet.stdout) == (0, "", "wolf.png\n")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": 0}, "--steps cannot be 0: give a number from 1 to 1,000."),
        ({"super_resolution": -1}, "--super-resolution cannot be -1: give a number from 0 to 100."),
        ({"guidance": float("nan")}, "--guidance cannot be nan: give a number from 0 to 100."),
        ({"azimuth": 1e9}, "--azimuth cannot be 1e"),
        ({"elevation": -91.0}, "--elevation cannot be -91"),
        ({"num": 0}, "--num cannot be 0"),
    ],
)
def test_numbers_out_of_range_are_refused_before_a_model_is_loaded(
    options: dict[str, float], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        image("a fox", model="/nowhere", **options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("prompt", "out", "sentence"),
    [(" ", None, "prompt is empty"), ("a fox", "fox.jpg", r"its name must end in \.png\.")],
)
def test_bad_input_is_refused_before_a_model_is_loaded(prompt: str, out: str | None, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        image(prompt, out, model="/nowhere")


def test_an_image_is_reported_with_its_record(capsys: pytest.CaptureFixture[str]) -> None:
    with report_as(quiet=False, as_json=True):
        report_picture(PlannedOutput("a fox", 3, Path("a/fox.png")), 64, 32)
    made = {"file": "a/fox.png", "prompt": "a fox", "seed": 3, "width": 64, "height": 32}
    assert json.loads(capsys.readouterr().out) == made | {"files": ["a/fox.png", "a/fox.image.json"]}
