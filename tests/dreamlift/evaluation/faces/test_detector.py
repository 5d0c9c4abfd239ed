"""Tests of the eye detector: matching, removed eyes, loss, training on drawn eyes, files, command."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.toybox.eyes import Eyes
from core.training.config import Budget
from dreamlift.evaluation.faces.detector import (
    THRESHOLD,
    Detections,
    EyeDetector,
    EyeDetectorConfig,
    match_eyes,
    pair_found,
)
from dreamlift.evaluation.faces.training import (
    detector_accuracy,
    heatmap_loss,
    paint_over,
    remove_eyes,
    render_faces,
    train_detector,
)

Command = Callable[..., "subprocess.CompletedProcess[str]"]
TINY = EyeDetectorConfig(size=32, widths=(8, 8, 16))


def one_pair(doubtful: bool = False) -> Eyes:
    """One image with an eye at (.4, .5), and a second one at (.6, .5) that may be in doubt."""
    seen = torch.tensor([[True, not doubtful]])
    position = torch.tensor([[[0.4, 0.5], [0.6, 0.5]]])
    return Eyes(position, torch.full((1, 2), 0.03), seen, ~seen)


def detections(*at: tuple[float, float], score: float = 0.9) -> Detections:
    return Detections(torch.tensor([at]), torch.full((1, len(at)), score))


def test_eyes_are_matched_one_to_one_with_the_nearest_detection() -> None:
    found, matched = match_eyes(detections((0.41, 0.5), (0.55, 0.5), (0.9, 0.9)), one_pair())
    assert found.tolist() == [[True, True]] and matched.tolist() == [[True, True, False]]
    # One detection between two eyes is one eye; those too far away or too weak are none.
    found, _ = match_eyes(detections((0.47, 0.5)), one_pair())
    assert found.tolist() == [[True, False]]
    assert not match_eyes(detections((0.4, 0.6), (0.6, 0.4)), one_pair())[0].any()
    assert not match_eyes(detections((0.4, 0.5), score=THRESHOLD), one_pair())[0].any()


def test_detections_at_eyes_in_doubt_are_no_errors() -> None:
    found, matched = match_eyes(detections((0.4, 0.5), (0.6, 0.5)), one_pair(doubtful=True))
    assert found.tolist() == [[True, False]] and matched.all()


def test_painted_eyes_have_the_color_around_them_and_are_no_longer_visible() -> None:
    eyes = one_pair()
    image = torch.full((1, 3, 128, 128), 0.5)
    image[..., 60:68, 47:55] = -1
    image[..., 60:68, 73:81] = -1
    painted = paint_over(image, eyes.position[:, 0], eyes.radius[:, 0])
    assert painted[..., 60:68, 47:55].min() > 0.4 and torch.equal(painted[..., 70:], image[..., 70:])
    torch.manual_seed(0)
    kept, rows = remove_eyes(
        image.expand(64, -1, -1, -1), Eyes(*(p.expand(64, *p.shape[1:]) for p in eyes)), 1
    )
    spots = torch.stack([kept[:, 0, 64, 51], kept[:, 0, 64, 77]], 1)
    assert (spots[rows.visible] == -1).all() and (spots[~rows.visible] > -0.75).all()
    assert 0.5 < (~rows.visible).float().mean() < 0.9


def test_loss_is_least_for_the_true_heatmap_and_blind_where_eyes_are_in_doubt() -> None:
    side = 32
    logits = torch.full((1, side, side), -8.0)
    right, wrong = logits.clone(), logits.clone()
    right[0, 16, 12] = right[0, 16, 19] = 8
    wrong[0, 16, 12] = wrong[0, 4, 4] = 8
    assert heatmap_loss(right, one_pair()) < 0.01
    assert heatmap_loss(logits, one_pair()) > 3 and heatmap_loss(wrong, one_pair()) > 3
    doubted = one_pair(doubtful=True)
    assert heatmap_loss(right, doubted) < 0.01


def drawn_eyes(count: int, side: int = 32) -> tuple[Tensor, Eyes]:
    """Black dots, two in each image, on gray with white dots: uint8 images and the eyes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.full((count, 3, side, side), 150, dtype=torch.uint8)
    cells = torch.stack([torch.randperm(25, generator=generator)[:4] for _ in range(count)])
    corner = torch.stack([3 + 5 * (cells % 5), 3 + 5 * torch.div(cells, 5, rounding_mode="floor")], -1)
    for number in range(count):
        for dot in range(4):
            x, y = corner[number, dot].tolist()
            images[number, :, y : y + 4, x : x + 4] = 0 if dot < 2 else 255
    seen = torch.ones(count, 2, dtype=torch.bool)
    return images, Eyes((corner[:, :2] + 2) / side, torch.full((count, 2), 2 / side), seen, ~seen)


def test_a_detector_learns_to_find_drawn_eyes_and_misses_painted_ones() -> None:
    images, eyes = drawn_eyes(256)
    detector = train_detector(images, eyes, Budget(steps=160), TINY)
    accuracy = detector_accuracy(detector, *drawn_eyes(300))
    assert accuracy["recall"] > 0.9 and accuracy["precision"] > 0.9, accuracy
    assert accuracy["pairs"] > 0.85 and accuracy["removed"] < 0.2, accuracy
    found = pair_found(detector, images[:4].float() / 127.5 - 1, eyes.rows(slice(4)))
    assert found.shape == (4,) and found.any()


def test_renders_of_faces_have_their_eyes() -> None:
    images, eyes = render_faces(6, seed=1, size=64)
    assert images.shape == (8, 3, 64, 64) and images.dtype == torch.uint8
    assert eyes.position.shape[:2] == eyes.visible.shape == (8, eyes.radius.shape[1])
    again, _ = render_faces(6, seed=1, size=64)
    assert torch.equal(images, again) and not torch.equal(images, render_faces(6, seed=2, size=64)[0])


def test_saved_detector_gives_the_same_heatmap_to_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = EyeDetector(TINY).eval()
    detector.save(tmp_path, {"minutes": 1})
    images = torch.rand(3, 3, 64, 64) * 2 - 1  # another size: resized
    with torch.no_grad():
        torch.testing.assert_close(EyeDetector.load(tmp_path)(images), detector(images), rtol=0, atol=2e-2)
    assert sum(p.numel() for p in EyeDetector(EyeDetectorConfig()).parameters()) <= 300_000


def test_train_eyes_command_writes_a_detector_with_its_accuracy(command: Command, tmp_path: Path) -> None:
    result = command("dreamlift", "train", "eyes", "--out", "eyes", "--renders", 64, "--steps", 2)
    assert result.returncode == 0, result.stderr
    EyeDetector.load(tmp_path / "eyes")
    notes = json.loads((tmp_path / "eyes/config.json").read_text())["training"]
    assert notes["renders"] == 64 and notes["accuracy"].keys() == {"256 pixels", "64 pixels"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "/dev/null/eyes"], "Cannot write into the folder /dev/null/eyes"),
        (["--out", "eyes", "--minutes", 0], "Training needs a number of steps or of minutes"),
    ],
)
def test_invalid_input_prints_one_line_and_exits_with_code_2(
    command: Command, arguments: list, sentence: str
) -> None:
    result = command("dreamlift", "train", "eyes", *arguments)
    assert result.returncode == 2
    assert sentence in result.stderr and result.stderr.count("\n") == 1
