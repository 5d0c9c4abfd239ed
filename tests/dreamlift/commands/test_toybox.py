"""Tests of `dreamlift toybox` from the command line."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from imageio_ffmpeg import count_frames_and_secs
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from core.errors import UserError
from core.io.files.listed import LIST
from core.toybox import dataset
from dreamlift.commands.toybox import toybox

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Runs the command in this process; returns its output and passes its errors on."""
    app = typer.Typer(add_completion=False)
    app.command()(toybox)

    def run(*arguments: object) -> str:
        words = ["--out", str(tmp_path), *map(str, arguments)]
        return CliRunner().invoke(app, words, catch_exceptions=False).output

    return run


def test_scene_files_and_their_contents(call: Callable[..., str], tmp_path: Path) -> None:
    printed = call("--subject", "red fox", "--action", "holding a video game controller", "--color", "blue",
                   "--azimuth", 30, "--phase", 0.25, "--alpha", "--depth")  # fmt: skip
    name = "fox-holding-a-game-controller"
    ends = (".png", ".gif", ".mp4", "-alpha.png", "-alpha.npy", "-depth.png", "-depth.npy")
    files = [tmp_path / f"{name}{end}" for end in ends]
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / LIST, *files])
    assert printed.splitlines() == [str(file) for file in files]

    still, loop = Image.open(files[0]), Image.open(files[1])
    assert still.size == (64, 64) and loop.n_frames == 16  # type: ignore[attr-defined]
    assert count_frames_and_secs(str(files[2]))[0] == 16
    alpha, depth = np.load(files[4]), np.load(files[6])
    assert alpha.shape == depth.shape == (16, 64, 64)
    np.testing.assert_array_equal(np.isfinite(depth), alpha > 0)
    np.testing.assert_allclose(np.asarray(Image.open(files[3])) / 255, alpha[0], atol=0.5 / 255)
    millis = np.asarray(Image.open(files[5])).astype(float)
    np.testing.assert_array_equal(millis > 0, alpha[0] > 0)
    np.testing.assert_allclose(millis[millis > 0] / 1000, depth[0][np.isfinite(depth[0])], atol=6e-4)
    assert 5.5 < depth.min() < 7
    assert np.abs(alpha - alpha[0]).max() == 1  # the figure moves

    colors = np.asarray(still).astype(float)
    blue = (colors[..., 2] > 1.6 * colors[..., 0]) & (alpha[0] == 1)
    assert blue.sum() > 30


def test_no_shadow_leaves_the_backdrop_bright(call: Callable[..., str], tmp_path: Path) -> None:
    pictures = {}
    for flag in ("--shadow", "--no-shadow"):
        call("--subject", "panda", "--backdrop", "white", "--azimuth", 200, flag)
        pictures[flag] = np.asarray(Image.open(tmp_path / "panda-standing.png")).astype(float)
    assert pictures["--no-shadow"][60:, 40:].min() > 220
    assert pictures["--shadow"].min(-1)[50:, 32:].min() < pictures["--no-shadow"].min(-1)[50:, 32:].max() - 60


def test_size_and_company_options(call: Callable[..., str], tmp_path: Path) -> None:
    call("--group", "brush", "--color", "green", "--size", 72)
    assert Image.open(tmp_path / "brush.png").size == (72, 72)
    call("--group", "pair", "--subject", "teddy bear", "--action", "mixing chemicals")
    assert (tmp_path / "teddy-bear-pair-mixing-chemicals.mp4").exists()


def test_shards_are_written_once(
    call: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "SHARD", 16)
    kinds = ("--images", 30, "--clips", 1, "--textureless", 3)
    printed = call(*kinds, "--processes", 1, "--seed", 5, "--held-out")
    assert "4/4" in printed and f"{tmp_path}: 4 shards" in printed.replace("\n", "")
    for name in ("images-00001", "textureless-00000"):
        assert load_file(tmp_path / f"{name}.safetensors")["pixels"].shape == (16, 3, 64, 64)
    plan = dataset.DatasetPlan(tmp_path, 30, 1, 5, True)
    lines = (tmp_path / "captions.txt").read_text().splitlines()
    assert lines == [line for job in plan.jobs() for line in plan.records(*job)[1]]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    call(*kinds, "--processes", 1, "--seed", 5, "--held-out")
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_contact_sheet(call: Callable[..., str], tmp_path: Path) -> None:
    assert call("--sheet", "backdrops").strip() == str(tmp_path / "backdrops.png")
    sheet = Image.open(tmp_path / "backdrops.png")
    assert sheet.size == (7 * 132 + 4, 2 * 149 + 4) and sheet.mode == "P"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--subject", "wolf"], "The toybox has no subject 'wolf'; it has: panda, fox, bear"),
        (["--subject", "fox", "--action", "flying"], "The toybox has no action 'flying'; it has: standing"),
        (["--subject", "fox", "--color", "beige"], "The toybox has no color 'beige'; it has: red"),
        (["--subject", "fox", "--backdrop", "moon"], "The toybox has no backdrop 'moon'; it has: white"),
        (["--group", "crowd"], "The toybox has no group 'crowd'; it has: pair, couple, brush"),
        (["--group", "pair"], "A pair needs a --subject"),
        (["--group", "couple", "--action", "running"], "no effect with --group couple"),
        (
            ["--subject", "fox", "--color", "red"],
            "--color would have no effect: 'standing' has no colored prop",
        ),
        (["--sheet", "people"], "There is no sheet 'people'; there are: subjects, actions"),
        (["--subject", "fox", "--size", "60"], "--size cannot be 60"),
        (["--subject", "fox", "--size", "520"], "--size cannot be 520"),
        (["--subject", "fox", "--elevation", "90"], "--elevation cannot be 90"),
        (["--subject", "fox", "--phase", "1.5"], "--phase cannot be 1.5"),
        (["--subject", "fox", "--images", "9"], "--subject: no effect together with --images"),
        (["--subject", "fox", "--held-out"], "--held-out: no effect together with --subject"),
        (["--alpha", "--no-shadow"], "--alpha, --shadow: no effect on contact sheets"),
        (["--images", "9", "--size", "60"], "--size cannot be 60"),
        (["--large", "9", "--size", "128"], "--size: no effect together with --large"),
        (["--images", "9", "--held-out", "--all"], "--held-out and --all exclude each other"),
        (
            ["--images", "9", "--textureless", "-1"],
            "--textureless cannot be -1: give a number from 0 to 10,000,000",
        ),
        (["--subject", "fox", "--textureless", "9"], "--subject: no effect together with --images"),
        (["--images", "1000000000"], "--images cannot be 1000000000: give a number from 0 to 10,000,000"),
        (["--clips", "10000000"], "The shards need about 1966.1 GB, and "),
        (["--images", "9", "--processes", "1000000"], "--processes cannot be 1000000: this machine has"),
        (["--images", "9", "--seed", "-1"], "--seed cannot be -1: a seed is a whole number from 0 to"),
        (["--images", "9", "--seed", "-1"], "--seed cannot be -1"),
        (["--images", "9", "--processes", "0"], "--processes cannot be 0"),
        (["--images", "9", "--device", "abacus"], "There is no device 'abacus' here"),
    ],
)
def test_invalid_input_raises_a_one_line_error(
    call: Callable[..., str], arguments: list[str], sentence: str
) -> None:
    with pytest.raises(UserError) as raised:
        call(*arguments)
    assert sentence in str(raised.value) and "\n" not in str(raised.value)


def test_unwritable_folder_raises_a_user_error(call: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for options in (["--subject", "fox"], ["--sheet", "views"], ["--images", "9"]):
        with pytest.raises(UserError, match="Cannot write into the folder"):
            call("--out", tmp_path / "file" / "inside", *options)


@pytest.mark.parametrize(
    ("name", "options"),
    [("backdrops.png", ["--sheet", "backdrops"]), ("fox-standing.gif", ["--subject", "fox"])],
)
def test_a_picture_of_others_is_not_replaced(
    call: Callable[..., str], tmp_path: Path, name: str, options: list[str]
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"{name} exists, and is not as an earlier run"):
        call(*options)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    call(*options, "--overwrite")
    call(*options)
    assert Image.open(tmp_path / name).size[0] >= 64


def test_invalid_input_exits_with_code_2(command: Command) -> None:
    result = command("dreamlift", "toybox", "--out", "x", "--subject", "wolf")
    assert result.returncode == 2 and not result.stdout
    assert (
        result.stderr.startswith("dreamlift: The toybox has no subject 'wolf'")
        and result.stderr.count("\n") == 1
    )
