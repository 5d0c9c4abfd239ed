"""`gen-video` as a person runs it: what it refuses, and the files that it leaves."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image
from rich.progress import Progress

import core.sampling
import video.generate
from core.command_line.progress import PreviewTimer
from core.condition import Condition
from core.guidance import ClassifierFreeGuidance
from core.io.clips.write import write_clip
from core.io.files.record import digests
from core.io.pictures import to_frames
from core.nn.flops import FlopCounter
from core.samplers import SamplerState
from core.toybox.captions import SUBJECT_NAMES
from video.cli import _read_prompts, main
from video.generate import SamplingMonitor
from video.job import ClipJob
from video.record import RunRecord
from video.sampling.clip_tensors import clip_attributes
from video.video_model import VideoModel

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SLOW_IMPORTS = ("torch._dynamo", "diffusers", "transformers", "scipy")  # that a run has no need of
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give either a prompt"),
        (["a fox", "--prompts", "prompts.txt"], "Give either a prompt"),
        ([""], "The prompt is empty."),
        (["  "], "The prompt is empty."),
        (["--prompts", "missing.txt"], "Cannot read the prompts of missing.txt: No such file"),
        (["a fox", "--frames", "0"], "--frames cannot be 0: input should be greater than or equal to 1."),
        (["a fox", "--frames", "100000"], "--frames cannot be 100000"),
        (["a fox", "--steps", "0"], "--steps cannot be 0"),
        (["a fox", "--steps", "1001"], "--steps cannot be 1001"),
        (["a fox", "--steps", "many"], "Invalid value for '--steps'"),
        (["a fox", "--guidance", "-1"], "--guidance cannot be -1.0"),
        (["a fox", "--guidance", "nan"], "--guidance cannot be nan"),
        (["a fox", "--fps", "0"], "--fps cannot be 0.0"),
        (["a fox", "--fps", "inf"], "--fps cannot be inf"),
        (["a fox", "--fps", "0.001", "--out", "fox.gif"], "--fps cannot be 0.001: input should be greater"),
        (["a fox", "--fps", "1e-9"], "--fps cannot be 1e-09: input should be greater than or equal to 0.01."),
        (["a fox", "--batch", "0"], "--batch cannot be 0: give a number from 1 to 1,024."),
        (["a fox", "--frames", "9" * 4000], "--frames has a number of 13288 bits: give one below 2^63."),
        (["a fox", "--frames", "9" * 5000], "Invalid value for '--frames'"),
        (["a fox", "--negative", "rain", "--guidance", "1"], "cannot apply --negative at guidance scale 1"),
        (["a fox", "--negative", "rain", "--tier", "draft"], "or leave out --tier"),
        (["a fox", "--resume"], "The bundled model cannot apply --resume: its clips are decoded at once"),
        (["a fox", "--num", "1024", "--batch", "1024", "--frames", "1024", "--scale", "32"],
            "of memory, and"),
        (["a fox", "--num", "100000", "--frames", "1024"], "These 100,000 clips would need about"),
        (["a fox", "--resampling", "nearest"], "--resampling is of the enlargement by --scale, which is 1"),
        (["a fox", "--background", "red"], "A color for --background lies below transparent parts"),
        (["a fox", "--background", "transparent", "--out", "fox.mp4"], "fox.mp4 cannot be transparent"),
        (["a fox on a beach", "--background", "transparent"], 'a plain color: leave out "on a beach".'),
        (["a fox", "--no-complete", "--background", "transparent"], 'end the prompt in "on a gray'),
        (["a fox", "--model", "emoji", "--background", "transparent"], "is for the bundled model"),
        (["a fox", "--image", "a.png", "--background", "transparent"], "transparent and --image exclude"),
        (["a fox", "--model", "emoji", "--azimuth", "3", "--elevation", "3"],
            "cannot apply --azimuth: it was trained without cameras and phases"),
        (["a fox", "--model", "emoji", "--tier", "draft"], "cannot apply --tier: no distilled model"),
        (["a fox", "--negative", "\x1b[2J"], "--negative has the character U+001B, which is no text"),
        (["a fox\x07"], "PROMPT has the character U+0007, which is no text: leave it out."),
        (["a " + "very " * 3000 + "long fox"], "PROMPT has 15010 characters: give at most 10000."),
        (["--prompts", "/dev/zero"], "--prompts cannot be /dev/zero, which is a device"),
        (["--script", "/dev/zero"], "--script cannot be /dev/zero, which is a device"),
        (["a fox", "--preset", "/dev/zero"], "the preset cannot be /dev/zero, which is a device"),
        (["a fox", "--model", "/dev/zero"], "--model cannot be /dev/zero, which is a device"),
        (["a fox", "--image", "~nobody-at-all/a.png"], "there is no home folder ~nobody-at-all"),
        (["a fox", "--model", "~nobody-at-all"], "there is no home folder ~nobody-at-all"),
        (["a fox", "--image", "x" * 256], "a name has at most 255 bytes, and this has 256"),
        (["a fox", "--model", "x" * 5000], "a name has at most 255 bytes, and this has 5000"),
        (["a fox", "--preset", "x" * 5000], "a name has at most 255 bytes, and this has 5000"),
        (["a fox", "--preset", ""], "--preset is empty: give a value, or leave it out."),
        (["a fox", "--scale", "0"], "--scale cannot be 0"),
        (["a fox", "--resampling", "magic"], "--resampling cannot be 'magic'"),
        (["a fox", "--elevation", "100", "--azimuth", "0"], "--elevation cannot be 100.0"),
        (["a fox", "--num", "100000000"], "--num cannot be 100000000: one run makes at most 100,000 clips."),
        (["a fox", "--out", "aux.mp4"], "Cannot write aux.mp4, a name of a device on Windows"),
        (["a fox", "--out", "~nobody-at-all/a.mp4"], "--out cannot be ~nobody-at-all/a.mp4: there is no"),
        (["a fox", "--out", ""], "--out is empty: give a value, or leave it out."),
        (["a fox", "--out", "a\nb.mp4"], "--out cannot be 'a\\nb.mp4': a path has no control characters."),
        (["a fox", "--num", "0"], "--num cannot be 0"),
        (["a fox", "--seed", "-1"], "--seed cannot be -1"),
        (["a fox", "--out", "fox.avi"], "fox.avi: its name must end in .mp4, .webm, .gif, "),
        (["a fox", "--out", "fox"], "fox: its name must end in .mp4, .webm, .gif, .webp, "),
        (["a fox", "--out", "/dev/null/fox.mp4"], "Cannot write into the folder /dev/null"),
        (["a fox", "--preset", "best"], "There is no preset 'gen-video/best'; there are animatediff, "),
        (["a fox", "--preset", "mine.yaml"], "Cannot read the preset mine.yaml: No such file"),
        (["a fox", "--sampler", "x"], "--sampler cannot be 'x': input should be 'ddim', 'ddpm', "),
        (["a fox", "--sampler", "heun", "--eta", "1"], "eta is an option of ddim and tcd"),
        (["a fox", "--eta", "2"], "--eta cannot be 2.0"),
        (["a fox", "--guidance-interval", "5", "1"], "needs 0 <= low < high, not 5 and 1."),
        (["a fox", "--guidance", "1", "--guidance-rescale", "0.5"], "rescale needs guidance"),
        (["a fox", "--tier", "best"], "--tier cannot be 'best'"),
        (["a fox", "--no-such-option"], "No such option"),
        (["a fox", "--seconds", "0"], "--seconds cannot be 0.0"),
        (["a fox", "--seconds", "2", "--frames", "8"], "--seconds and --frames both give the length"),
        (["a fox", "--seconds", "500"], "--frames cannot be 4000"),
        (["a fox", "--extension", "magic", "--frames", "40"], "--extension cannot be 'magic'"),
        (["a fox", "--extension", "guidance"], "--extension is for clips of more than 16 frames, not 16."),
        (["a fox", "--loop", "--image", "a.png"], "--loop and --image exclude each other"),
        (["a fox", "--loop", "--video", "a.mp4"], "--loop and --video exclude each other"),
        (["a fox", "--loop", "--extension", "guidance"], "--loop and --extension exclude each other"),
        (["a fox", "--loop", "--frames", "1"], "--loop needs at least 2 frames, not 1."),
        (["a fox", "--image", "a.png", "--interpolate", "a.png", "b.png"], "--image and --interpolate both"),
        (["a fox", "--image", "a.png", "--video", "a.mp4"], "--image and --video both give"),
        (["a fox", "--interpolate", "a.png", "b.png", "--frames", "2"], "--interpolate needs at least 3"),
        (["a fox", "--interpolate", "a.png", "b.png", "--frames", "20"], "up to 16 frames, not 20"),
        (["a fox", "--interpolate", "a.png", "b.png"], "Cannot read the picture a.png: No such file"),
        (["a fox", "--last-phase", "0.5"], "--last-phase is of the second picture"),
        (["a fox", "--phase", "1"], "--phase cannot be 1.0"),
        (["a fox", "--strength", "0.5"], "--strength says how far the clip of --video is noised"),
        (["a fox", "--video", "a.mp4", "--strength", "0"], "--strength cannot be 0.0"),
        (["a fox", "--video", "a.mp4", "--strength", "1.5"], "--strength cannot be 1.5"),
        (["a fox", "--video", "a.mp4"], "Cannot read the clip a.mp4: there is no such file."),
        (["0: a fox | a panda"], "'a panda' is no scene: write SECONDS: PROMPT"),
        (["0: a fox | 2: a panda", "--loop"], "--loop and a script exclude each other"),
        (["0: a fox | 2: a panda", "--interpolate", "a.png", "b.png"], "--interpolate and a script exclude"),
        (["0: a fox | 2: a panda", "--seconds", "2"], "begins at 2 s, after the clip's end"),
        (["--script", "missing.txt"], "Cannot read the script missing.txt: No such file"),
        (["a fox", "--script", "scenes.txt"], "Give either a prompt"),
        (["a fox", "--device", "abacus", "--model", "m"], "There is no device 'abacus' here"),
        (["a fox", "--model", "nowhere"], "There is no model in nowhere"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gen-video", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert sentence in printed.err and printed.err.startswith("gen-video: ") and printed.err.count("\n") == 1
    assert not printed.out and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "q.mp4"], "q.mp4 exists, and q.gen-video.json does not list it"),
        (["--image", "q.preview.png", "--out", "q.gif"], "q.preview.png is read by this run"),
        (["--image", "q.preview.png", "--out", "q.gif", "--overwrite"], "q.preview.png is read by this run"),
        (["--video", "q.mp4", "--out", "q.mp4", "--overwrite"], "q.mp4 is read by this run"),
    ],
)
def test_files_of_others_are_refused_before_the_weights_are_read(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("q.mp4", "q.preview.png"):
        Image.new("RGB", (16, 16)).save(name, format="PNG")
    write_clip(tmp_path / "q.mp4", np.zeros((4, 16, 16, 3), np.uint8), 8)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(sys, "argv", ["gen-video", "a fox", "--frames", "4", *arguments])
    monkeypatch.setattr(VideoModel, "load", None)
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr().err
    assert stop.value.code == 2 and sentence in printed and printed.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_damaged_weights_are_refused(command: Command, tmp_path: Path, tiny_model: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    weights = bytearray((tiny_model / "model.safetensors").read_bytes())
    weights[-10] ^= 1
    (damaged / "model.safetensors").write_bytes(weights)
    result = command("gen-video", "a fox", "--model", damaged)
    assert result.returncode == 2
    assert "are damaged" in result.stderr and result.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["damaged"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The folder that a run of two clips of "a panda" has left, with seeds 3 and 4."""
    folder = tmp_path_factory.mktemp("run")
    arguments = ["A panda!", "--num", "2", "--seed", "3", "--steps", "4", "--frames", "5", "--fps", "10"]
    arguments += ["--scale", "4", "--resampling", "nearest", "--model", str(tiny_model), "--device", "cpu"]
    process = start(folder, *arguments)
    assert process.wait(300) == 0
    return folder


def start(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    # A test run started in the background ignores Ctrl-C, and so would the command.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; import sys; sys.argv[0] = 'gen-video'; from video.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=folder, env=environment)


def test_a_run_leaves_clips_sheets_and_records(run: Path, tiny_model: Path) -> None:
    stems = ("a-panda", "a-panda-2")
    assert sorted(os.listdir(run)) == sorted(
        f"{s}{e}" for s in stems for e in (".mp4", ".sheet.png", ".gen-video.json")
    )
    model = VideoModel.load(tiny_model)
    for stem, seed in zip(stems, (3, 4), strict=True):
        clip = model.sample(["A panda!"], frames=5, steps=4, guidance=4.0, seeds=[seed])
        wanted = to_frames(clip[0].numpy())
        shown = iio.imread(run / f"{stem}.mp4")
        assert shown.shape == (5, 64, 64, 3)
        # Luma survives the encoder's halved colors.
        luma = (shown @ [0.2126, 0.7152, 0.0722])[:, 2::4, 2::4]
        assert np.abs(luma - wanted @ [0.2126, 0.7152, 0.0722]).mean() < 4
        with Image.open(run / f"{stem}.sheet.png") as sheet:
            assert sheet.format == "PNG" and sheet.width > 3 * 192
        record = RunRecord.model_validate_json((run / f"{stem}.gen-video.json").read_text())
        assert (record.prompt, record.seed, record.size) == ("A panda!", seed, (64, 64))
        assert (record.options.steps, record.options.fps, record.options.scale) == (4, 10.0, 4)
        assert record.files == digests(run / f"{stem}{ending}" for ending in (".mp4", ".sheet.png"))
        assert 0 < record.seconds.sample < record.seconds.since_start


@torch.no_grad()
def test_the_record_counts_the_arithmetic_of_all_steps(run: Path, tiny_model: Path) -> None:
    model = VideoModel.load(tiny_model)
    condition = Condition(*model.text(["A panda!"]), clip_attributes(1, 5, 1 / 16, phase=0.0))
    negative = Condition(*model.text([""]), clip_attributes(1, 5, 1 / 16, phase=None))
    guided = ClassifierFreeGuidance(model.denoiser, 4.0, negative)
    with FlopCounter() as counter:
        guided(torch.randn(1, 3, 5, 16, 16), torch.tensor([500]), condition)
    record = RunRecord.model_validate_json((run / "a-panda.gen-video.json").read_text())
    assert record.gflop == pytest.approx(4 * counter.total / 1e9, abs=0.06)
    assert record.gflop > 0


def test_a_seed_gives_the_same_bytes_whatever_else_is_made(
    run: Path, command: Command, tmp_path: Path, tiny_model: Path
) -> None:
    result = command(
        "gen-video", "A panda!", "--seed", 4, "--steps", 4, "--frames", 5, "--fps", 10, "--scale", 4,
        "--resampling", "nearest", "--model", tiny_model, "--device", "cpu", "--out", "alone.mp4",
        without=SLOW_IMPORTS,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "alone.mp4").read_bytes() == (run / "a-panda-2.mp4").read_bytes()


def test_ctrl_c_keeps_what_was_finished(tmp_path: Path, tiny_model: Path) -> None:
    process = start(tmp_path, "a fox", "--num", "500", "--steps", "4", "--model", str(tiny_model))
    try:
        deadline = time.monotonic() + 300
        while not (tmp_path / "a-fox.gen-video.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (tmp_path / "a-fox.gen-video.json").exists()
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 130
    finally:
        process.kill()
    left = os.listdir(tmp_path)
    assert "a-fox-500.gen-video.json" not in left
    for name in left:
        assert not name.startswith(".") and ".preview." not in name
        if name.endswith(".json"):
            record = RunRecord.model_validate_json((tmp_path / name).read_text())
            assert record.files.keys() <= set(left)


def test_previews_show_the_guess_while_it_improves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video.generate, "PREVIEW_EVERY", 0.0)
    monkeypatch.setattr(PreviewTimer.__init__, "__defaults__", (0.0,))
    job = ClipJob("a fox", 0, tmp_path / "a-fox.mp4")
    progress = Progress(disable=True)
    watch = SamplingMonitor(progress, progress.add_task("", total=3), [job], decode=torch.neg)
    seen = []
    for step, level in ((1, -0.5), (2, 0.5)):
        clip = torch.full((1, 3, 4, 16, 16), level)
        watch(SamplerState(clip, clip, step, 3, 0))
        seen.append(np.asarray(Image.open(tmp_path / "a-fox.preview.png"))[-30, 30].tolist())
    assert seen == [[191] * 3, [64] * 3]


def test_previews_take_a_tenth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that a preview moves on by 2 s and a step by 3 s."""
    now = 0.0
    monkeypatch.setattr(video.generate.time, "perf_counter", lambda: now)

    def slow(x: torch.Tensor) -> torch.Tensor:
        nonlocal now
        now += 2.0
        drawn.append(step)
        return x

    drawn: list[int] = []
    job = ClipJob("a fox", 0, tmp_path / "a-fox.mp4")
    progress = Progress(disable=True)
    watch = SamplingMonitor(progress, progress.add_task("", total=20), [job], decode=slow)
    clip = torch.zeros(1, 3, 2, 8, 8)
    for step in range(1, 21):
        now += 3.0
        watch(SamplerState(clip, clip, step, 20, 0))
    assert drawn == [1, 8, 15]


def test_sampling_outlives_a_preview_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video.generate, "PREVIEW_EVERY", 0.0)
    tried = []

    def fail(x: torch.Tensor) -> torch.Tensor:
        tried.append(x)
        raise torch.OutOfMemoryError("none is left")

    progress = Progress(disable=True)
    job = ClipJob("a fox", 0, tmp_path / "a-fox.mp4")
    watch = SamplingMonitor(progress, progress.add_task("", total=5), [job], decode=fail)
    clip = torch.zeros(1, 3, 2, 8, 8)
    for step in range(1, 6):
        watch(SamplerState(clip, clip, step, 5, 0))
    assert len(tried) == 1 and not job.files.preview.exists()


def test_a_picture_is_the_first_frame_of_the_clip(command: Command, tmp_path: Path, tiny_model: Path) -> None:
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    result = command(
        "gen-video", "a fox", "--image", "picture.png", "--model", tiny_model, "--device", "cpu",
        "--steps", 3, "--frames", 2, "--scale", 1, "--out", "a-fox.webp",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "a-fox.webp") as shown:
        first = np.asarray(shown.convert("L"))
    assert first[:, :6].mean() < 30 and first[:, -6:].mean() > 225
    record = RunRecord.model_validate_json((tmp_path / "a-fox.gen-video.json").read_text())
    assert record.options.image == Path("picture.png")


def test_seconds_scripts_and_loops_have_their_length(
    command: Command, tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "scenes.txt").write_text("0: a fox standing\n1: a fox waving\n")
    common = ["--model", tiny_model, "--device", "cpu", "--steps", 2, "--scale", 1, "--no-preview"]
    for arguments, frames in (
        (["a fox", "--seconds", 2.5, "--extension", "replacement"], 20),
        (["a fox", "--seconds", 3, "--loop"], 24),
        (["--script", "scenes.txt"], 24),
        (["0: a fox | 1: a panda", "--seconds", 1.5], 12),
    ):
        result = command("gen-video", *arguments, *common, "--out", "clip.gif")
        assert result.returncode == 0, result.stderr
        assert f"{frames} frames, 8 a second" in result.stderr
        record = RunRecord.model_validate_json((tmp_path / "clip.gen-video.json").read_text())
        assert record.options.frames == frames
        assert (record.gflop is None) == (
            arguments[0] != "0: a fox | 1: a panda" and "--loop" not in arguments
        )
    assert record.prompt == "0: a fox | 1: a panda" and record.options.seconds == 1.5


def test_a_clip_starts_from_a_clip_and_ends_at_a_picture(
    command: Command, tmp_path: Path, tiny_model: Path
) -> None:
    frames = np.zeros((8, 16, 16, 3), np.uint8)
    frames[4:] = 255
    write_clip(tmp_path / "in.webp", frames, 8)
    common = ["--model", tiny_model, "--device", "cpu", "--steps", 3, "--scale", 1, "--no-preview"]
    result = command(
        "gen-video", "a fox", "--video", "in.webp", "--strength", 0.01, "--frames", 8, *common,
        "--out", "near.mp4",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    near = iio.imread(tmp_path / "near.mp4").mean((1, 2, 3))
    assert near[:4].max() < 60 and near[4:].min() > 195
    for name, value in (("a", 0), ("b", 255)):
        Image.new("L", (16, 16), value).save(tmp_path / f"{name}.png")
    result = command(
        "gen-video", "a fox", "--interpolate", "a.png", "b.png", "--frames", 5, *common, "--out", "way.mp4"
    )
    assert result.returncode == 0, result.stderr
    way = iio.imread(tmp_path / "way.mp4").mean((1, 2, 3))
    assert way[0] < 10 and way[-1] > 245
    record = RunRecord.model_validate_json((tmp_path / "way.gen-video.json").read_text())
    assert record.options.interpolate == (Path("a.png"), Path("b.png"))


def test_the_bundled_model_says_what_it_cannot_know(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [ClipJob(prompt, 0, Path("a.mp4")) for prompt in ("a panda on a swing", "a purple toaster")]
    _read_prompts(jobs, True, [(None, None)] * 2, [True] * 2)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "a purple toaster" in printed and "on a swing" not in printed
    assert "panda, " in printed and "another model" in printed
    nearest = re.search(r'The nearest one it knows is "([\w ]+)"', printed)
    assert nearest and nearest[1] in SUBJECT_NAMES
    read = _read_prompts([ClipJob("two pandas dancing", 0, Path("a.mp4"))], True, [(None, None)], [True])
    assert not capsys.readouterr().err and read[0].text.startswith("two pandas dancing on a")


def test_prompts_are_read_unless_they_are_not_to_be_completed(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [ClipJob("a puppy and a cat, seen from behind", seed, Path("a.mp4")) for seed in (0, 1)]
    both = [(None, None)] * 2, [True] * 2
    read = _read_prompts(jobs, True, *both)
    assert capsys.readouterr().err.count("here a corgi") == 1  # once for all seeds
    assert read[0].text != read[1].text and read[0].completed == read[0].text
    assert _read_prompts(jobs, False, *both) == jobs and not capsys.readouterr().err
    assert jobs[0].text == jobs[0].prompt and jobs[0].completed is None


@pytest.mark.parametrize(
    ("name", "function"),
    {
        **{name: name for name in ("ddim", "ddpm", "unipc", "heun", "lcm", "tcd")},
        "dpm-solver++": "dpm_solver",
        "euler": "ddim",  # which is Euler's method in sigma / alpha
    }.items(),
)
def test_each_sampler_of_the_command_is_the_one_named(
    name: str, function: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    for each in ("ddim", "ddpm", "dpm_solver", "unipc", "heun", "euler", "lcm", "tcd"):
        original = getattr(core.sampling, each)
        monkeypatch.setattr(
            core.sampling, each, lambda *a, f=each, o=original, **k: called.append(f) or o(*a, **k)
        )
    options = ["--steps", "2", "--frames", "2", "--scale", "1", "--device", "cpu", "--no-preview"]
    arguments = ["gen-video", "a fox", "--model", str(tiny_model), "--sampler", name, *options]
    monkeypatch.setattr(sys, "argv", [*arguments, "--out", str(tmp_path / "fox.gif")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0 and called == [function]
    record = RunRecord.model_validate_json((tmp_path / "fox.gen-video.json").read_text())
    assert record.options.sampler == name
