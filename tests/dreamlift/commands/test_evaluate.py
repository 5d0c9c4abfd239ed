"""Tests of `dreamlift evaluate`: prompt sets, renders scored as samples, complete runs, invalid input."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from core.models.image_model import ImageModel, ImageModelConfig
from core.models.super_resolution import SuperResolution, SuperResolutionConfig
from core.nn.unet import UNetConfig
from core.toybox.render import Camera
from core.toybox.scenes import COLOR_NAMES, render_scenes
from dreamlift.evaluation.faces.detector import EyeDetector, EyeDetectorConfig
from dreamlift.evaluation.judge import Judge, JudgeConfig
from dreamlift.evaluation.measuring import CLIP_MEASURES, IMAGE_MEASURES, Instruments, at_size, compare
from dreamlift.evaluation.prompt_set import ASIDE, ELEVATION, FRONT, PromptSet
from dreamlift.evaluation.report import score
from dreamlift.evaluation.video_metrics import horizontal_position, sine_fit
from video.video_folder import VideoModelConfig
from video.video_model import VideoModel

Command = Callable[..., "subprocess.CompletedProcess[str]"]
TINY = ImageModelConfig(size=16, network=UNetConfig(widths=(32,), blocks=(1,), attention=(True,)))


def tiny_detector() -> EyeDetector:
    torch.manual_seed(0)
    return EyeDetector(EyeDetectorConfig(size=32, widths=(4, 4, 8))).eval()


def tiny_judge() -> Judge:
    torch.manual_seed(0)
    return Judge(JudgeConfig(size=16, widths=(8, 16), motion_width=16)).eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders image, video and judge with random weights."""
    folder = tmp_path_factory.mktemp("models")
    clips = VideoModelConfig(image=TINY)
    torch.manual_seed(0)
    for config, model, name in ((TINY, ImageModel, "image"), (clips, VideoModel, "video")):
        denoiser = config.denoiser()
        for parameter in denoiser.parameters():
            nn.init.normal_(parameter, std=0.1)
        model(config, denoiser).save(folder / name)
    tiny_judge().save(folder / "judge", {})
    tiny_detector().save(folder / "eyes", {})
    larger = SuperResolutionConfig(size=64, widths=(32,), blocks=(1,))
    SuperResolution(larger, larger.denoiser()).save(folder / "super-resolution")
    return folder


@pytest.mark.parametrize("held", [False, True])
def test_prompt_sets_describe_single_figures_of_the_requested_pairs(held: bool) -> None:
    prompt_set = PromptSet.draw(60, held, seed=3)
    again = PromptSet.draw(60, held, seed=3)
    assert prompt_set.prompts == again.prompts and torch.equal(prompt_set.azimuth, again.azimuth)
    assert prompt_set.azimuth.abs().max() <= FRONT and len(set(prompt_set.seeds)) == 60
    for scene, prompt in zip(prompt_set.scenes, prompt_set.prompts, strict=True):
        assert scene.held_out == held and not scene.group
        assert any(name in prompt for name in scene.who.names)
        assert any(place.split(" ", 2)[-1] in prompt for place in scene.place.phrases)
        assert COLOR_NAMES[scene.color] in prompt or not scene.act.colored
    assert not set(prompt_set.prompts) & set(PromptSet.draw(60, held, seed=4).prompts)


def test_renders_show_the_scene_at_its_camera_and_phase() -> None:
    prompt_set = PromptSet.draw(6, False, seed=1)
    images, clips = prompt_set.renders(slice(1, 6), 16), prompt_set.renders(slice(1, 6), 16, clips=True)
    assert images.shape == (5, 3, 16, 16) and clips.shape == (5, 3, 16, 16, 16)
    torch.testing.assert_close(clips[:, :, 0], images)
    camera = Camera(prompt_set.azimuth[5:6].expand(2), torch.full((2,), ELEVATION))
    moments = prompt_set.phase[5] + torch.tensor([0.0, 7 / 16])
    frames, _ = render_scenes(
        [prompt_set.scenes[5]], moments % 1, camera, torch.ones(2, dtype=torch.bool), 16
    )
    torch.testing.assert_close(clips[4, :, [0, 7]].transpose(0, 1), frames * 2 - 1, rtol=0, atol=1.01 / 255)


def test_rendered_swings_follow_a_sine() -> None:
    prompt_set = PromptSet.draw(3, False, seed=0, swings=True)
    assert {scene.act.name for scene in prompt_set.scenes} == {"on a swing"}
    assert ((prompt_set.azimuth.abs() >= ASIDE[0]) & (prompt_set.azimuth.abs() <= ASIDE[1])).all()
    fit = sine_fit(horizontal_position(prompt_set.renders(slice(0, 3), 64, clips=True)))
    assert (fit.r2 > 0.97).all() and (fit.amplitude > 0.1).all()


@pytest.mark.parametrize("clips", [False, True])
def test_renders_passed_as_samples_get_the_results_of_renders(clips: bool) -> None:
    prompt_set, instruments = PromptSet.draw(5, False, seed=2), Instruments(tiny_judge(), tiny_detector())

    def sample(prompt_set: PromptSet, rows: slice) -> Tensor:
        return prompt_set.renders(rows, 16, clips)

    samples, renders = compare(prompt_set, sample, instruments, 2, None, clips)
    for name, labels in samples.labels.items():
        assert len(labels) == 5 and torch.equal(labels, renders.labels[name])
    for name, values in samples.measures.items():
        torch.testing.assert_close(values, renders.measures[name], rtol=0, atol=0, equal_nan=True)
    for name, values in samples.features.items():
        assert torch.equal(values, renders.features[name])
    assert renders.measures.keys() == IMAGE_MEASURES.keys() | {"two eyes"} | (
        CLIP_MEASURES.keys() | {"r2", "amplitude"} if clips else set()
    )
    assert torch.equal(samples.shown, prompt_set.renders(slice(0, 5), 16, clips))


def test_samples_are_compared_at_the_requested_size() -> None:
    prompt_set, instruments = PromptSet.draw(4, False, seed=2), Instruments(tiny_judge())

    def sample(prompt_set: PromptSet, rows: slice) -> Tensor:
        return prompt_set.renders(rows, 64)

    (same, true), (enlarged, large) = (
        compare(prompt_set, sample, instruments, 4, size, False) for size in (None, 128)
    )
    assert same.shown.shape == true.shown.shape == (4, 3, 64, 64)
    assert enlarged.shown.shape == large.shown.shape == (4, 3, 128, 128)
    torch.testing.assert_close(same.measures["edge width"], true.measures["edge width"])
    assert (enlarged.measures["edge width"] > 1.3 * large.measures["edge width"]).all()
    clips = torch.rand(2, 3, 5, 32, 32) * 2 - 1
    for size in (16, 64):
        resized = at_size(clips, size)
        assert resized.shape == (2, 3, 5, size, size)
        torch.testing.assert_close(resized[:, :, 3], at_size(clips[:, :, 3], size))


def test_score_counts_labeled_rows_only() -> None:
    truth = torch.tensor([1, 2, -1, 0])
    accuracy = score(truth, torch.tensor([1, 0, 5, 0]), torch.tensor([1, 2, 5, 0]))
    assert accuracy is not None
    assert (accuracy.samples.right, accuracy.samples.count, accuracy.renders.right) == (2, 3, 3)
    assert score(torch.full((2,), -1), truth[:2], truth[:2]) is None


@pytest.mark.parametrize("kind", ["image", "video"])
def test_evaluation_command_writes_report_and_sheets(
    command: Command, models: Path, tmp_path: Path, kind: str
) -> None:
    extra = ["--swings", 1] if kind == "video" else ["--super-resolution", models / "super-resolution"]
    instruments = ["--judge", models / "judge", "--eyes", models / "eyes"]
    arguments = ["--model", models / kind, *instruments, "--out", "results", "--held-out"]
    result = command(
        "dreamlift", "evaluate", kind, *arguments, "--count", 3, "--batch", 2, "--steps", 2, *extra
    )
    assert result.returncode == 0, result.stderr
    assert "3 prompts of held-out pairs" in " ".join(result.stdout.split())
    report = json.loads((tmp_path / "results/report.json").read_text())
    prompt_set = PromptSet.draw(3, True, seed=0)
    assert [item["prompt"] for item in report["items"]] == prompt_set.prompts
    assert [item["truth"]["subject"] for item in report["items"]] == [s.who.name for s in prompt_set.scenes]
    for name in ("subject", "action", "background"):
        right = [item["sample"][name] == item["truth"][name] for item in report["items"]]
        assert report["accuracy"][name]["samples"]["right"] == sum(right)
        low, high = report["accuracy"][name]["samples"]["interval"]
        assert 0 <= low <= np.mean(right) <= high <= 1
    assert report["size"] == (16 if kind == "video" else 64)
    assert report["levels"]["edge width"]["unit"] == "px" and report["eyes_sha256"]
    sheets = ["samples.png", "renders.png"] + (["swings-samples.png"] if kind == "video" else [])
    for sheet in sheets:
        assert min(Image.open(tmp_path / "results" / sheet).size) >= 192
    (tmp_path / "results" / "renders.png").write_text("mine")
    refused = command("dreamlift", "evaluate", kind, *arguments, "--count", 3)
    assert refused.returncode == 2 and "renders.png exists, and is not as an earlier run" in refused.stderr
    if kind == "video":
        assert "action, by motion alone" in report["accuracy"] and report["swings"] == 1
        assert {"Frechet distance, detail", "Frechet distance, motion"} <= report["levels"].keys()
        flicker = report["levels"]["flicker outside the figure"]
        assert flicker["samples"] > 0 and flicker["unit"] == "of 255"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["image", "--count", 0],
            "dreamlift evaluate image: count: input should be greater than or equal to 1",
        ),
        (["image", "--steps", 0], "steps: input should be"),
        (["image", "--guidance", -1], "guidance: input should be"),
        (["video", "--swings", -1], "swings: input should be"),
        (["video", "--batch", 0], "batch: input should be"),
        (["image", "--seed", -1], "seed: input should be"),
        (["image", "--size", 100], "size: input should be 64 or 256"),
        (["image", "--eyes", "nowhere"], "There is no model in nowhere"),
        (["video", "--super-resolution", "nowhere"], "There is no model in nowhere"),
        (["image", "--out", "/dev/null/found"], "Cannot write into the folder /dev/null/found"),
        (["image", "--judge", "nowhere"], "There is no model in nowhere"),
        (["video", "--device", "abacus"], "There is no device 'abacus' here"),
    ],
)
def test_invalid_input_prints_one_line_and_exits_with_code_2(
    command: Command, arguments: list, sentence: str
) -> None:
    result = command("dreamlift", "evaluate", *arguments)
    assert result.returncode == 2
    assert sentence in result.stderr and result.stderr.count("\n") == 1
