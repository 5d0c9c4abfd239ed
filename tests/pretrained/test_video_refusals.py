"""Options that a pretrained video model cannot apply: one line, exit code 2, before weights are read."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from video.cli import main

WAN = ["--width", "32", "--height", "32", "--frames", "5"]
LTX = ["--width", "32", "--height", "32", "--frames", "9"]


@pytest.fixture
def refused(
    video_folder: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Runs gen-video on a checkpoint without weights; returns its one-line error message."""

    def run(name: str, *arguments: str) -> str:
        bare = shutil.copytree(
            video_folder(name), tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors")
        )
        Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
        (tmp_path / "text.png").write_text("not a picture")
        folder = tmp_path / "empty"
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(sys, "argv", ["gen-video", "a fox", "--model", str(bare), *arguments])
        capsys.readouterr()  # discards the output of making the checkpoint
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        assert stop.value.code == 2 and not captured.out and not list(folder.iterdir())
        assert captured.err.startswith("gen-video: ") and captured.err.count("\n") == 1
        return captured.err

    return run


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("wan", [*WAN, "--motion", "none"], "Wan cannot apply --motion: it is a video model"),
        ("ltx", [*LTX, "--azimuth", "3", "--elevation", "3"], "LTX cannot apply --azimuth: it has"),
        ("cogvideox", ["--frames", "9", "--motion", "x/y"], "CogVideoX cannot apply --motion"),
        ("modelscope", ["--azimuth", "3", "--elevation", "3"], "ModelScope cannot apply --azimuth"),
        ("wan", [*WAN, "--image", "../picture.png"], "Wan cannot apply --image: it is a text-to-video"),
        ("cogvideox", ["--frames", "9", "--image", "../picture.png"], "CogVideoX cannot apply --image"),
        ("modelscope", ["--image", "../picture.png"], "ModelScope cannot apply --image"),
        ("wan-image", WAN, "Wan is an image-to-video model: give an image"),
        ("cogvideox-image", ["--frames", "9"], "CogVideoX is an image-to-video model: give an"),
        ("ltx", [*LTX, "--image", "missing.png"], "Cannot read the picture missing.png: No such file"),
        ("ltx", [*LTX, "--image", "../text.png"], "it is no PNG, JPEG, WebP, GIF, BMP,"),
        ("wan", [*WAN, "--width", "40"], "Wan needs a --width that is a multiple of 16, not 40: give 32."),
        ("ltx", [*LTX, "--height", "48"], "LTX needs a --height that is a multiple of 32, not 48: give 64."),
        ("cogvideox", ["--width", "40", "--height", "32"], "CogVideoX needs a --width that is a mult"),
        ("modelscope", ["--width", "36", "--height", "32"], "ModelScope needs a --width that is a"),
        ("cogvideox-image", ["--width", "64", "--height", "64", "--image", "../picture.png"],
            "CogVideoX has one size, 48x32, not 64x64: omit --width"),
        ("wan", [*WAN, "--frames", "16"], "Wan needs --frames of the form 4 n + 1, not 16: give 17."),
        ("ltx", [*LTX, "--frames", "16"], "LTX needs --frames of the form 8 n + 1, not 16: give 17."),
        ("cogvideox", ["--frames", "48"], "CogVideoX needs --frames of the form 8 n + 1, not 48: give 49."),
        ("wan", [*WAN, "--guidance", "0.5"], "Wan takes a --guidance of at least 1, not 0.5."),
        ("ltx", [*LTX, "--guidance", "1"], "LTX cannot apply --negative at guidance scale 1"),
        ("modelscope", ["--preset", "draft"], "ModelScope cannot apply --azimuth"),
        ("modelscope", ["--complete"], "--complete is for the bundled model"),
        ("modelscope", ["--width", "64"], "A size needs both --width and --height"),
        ("modelscope", ["--dtype", "int8"], "--dtype cannot be 'int8'"),
        ("modelscope", ["--device", "cpu", "--offload", "model"], "--offload moves weights between GPU and"),
    ],
)  # fmt: skip
def test_unsupported_options_of_a_family(
    refused: Callable[..., str], name: str, arguments: list[str], sentence: str
) -> None:
    assert sentence in refused(name, *arguments)


@pytest.mark.parametrize(
    ("kind", "arguments", "sentence"),
    [
        ("sd_eps", ["--motion", "none", "--azimuth", "3", "--elevation", "3"], "cannot apply --azimuth"),
        ("sdxl", ["--motion", "none", "--offload", "layers"], "AnimateDiff cannot apply --offload layers"),
        ("sd_v", ["--preset", "modelscope"], "is an image model: give an AnimateDiff adapter with --motion"),
        ("sd_eps", ["--motion", "none", "--width", "36", "--height", "32"], "needs a --width that is a"),
        ("sd_eps", ["--steps", "1"], "animatediff-motion-adapter-v1-5-3 is not in the local cache"),
        ("deepfloyd", [], "has the class IFPipeline, which gen-video does not support"),
    ],
)
def test_unsupported_options_of_image_models(
    kind: str,
    arguments: list[str],
    sentence: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = request.getfixturevalue(kind)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(sys, "argv", ["gen-video", "a fox", "--model", str(folder), *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main()
    error = capsys.readouterr().err
    assert stop.value.code == 2 and sentence in error and error.count("\n") == 1


def test_missing_weights_are_reported(refused: Callable[..., str]) -> None:
    assert "There are no weights in" in refused("modelscope", "--device", "cpu")


def test_an_id_that_is_not_cached_is_an_error_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gen-video", "a fox", "--preset", "wan"])
    with pytest.raises(SystemExit) as stop:
        main()
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    assert "Wan-AI/Wan2.1-T2V-1.3B-Diffusers is not in the local cache" in error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--motion", "none"], "The bundled model cannot apply --motion"),
        (["--lora", "x/y"], "The bundled model cannot apply --lora"),
        (["--dtype", "bfloat16"], "The bundled model cannot apply --dtype"),
        (["--offload", "model"], "The bundled model cannot apply --offload"),
        (["--tiling"], "The bundled model cannot apply --tiling"),
        (["--width", "64", "--height", "64"], "The bundled model cannot apply --width"),
    ],
)  # fmt: skip
def test_unsupported_options_of_the_bundled_model(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gen-video", "a fox", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2 and sentence in capsys.readouterr().err
