"""A detector of eyes, and how many eyes of a render it finds in a sample of the same scene."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.io.base_model import CONFIG
from core.io.presets import validate
from core.io.weights import load_folder, load_weights, save_folder
from core.toybox.eyes import Eyes
from dreamlift.evaluation.judge import Residual, convolution

STRIDE = 2  # pixels of the detector's input per cell of its heatmap
NEIGHBORS = 5  # cells; a peak is the largest value in a square of this side
MOST = 12  # peaks per image
THRESHOLD = 0.3  # least score of a detected eye
TOLERANCE = 0.08  # image widths from a true eye to a detected one; the eyes of a face are .13 apart


class EyeDetectorConfig(BaseModel):
    """Sizes of a detector: the `network` part of its `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=128, multiple_of=8, gt=0, description="side in pixels; others are resized")
    widths: tuple[int, int, int] = Field(default=(16, 32, 64), description="channels of the levels")


class Detections(NamedTuple):
    """The peaks of the heatmaps of N images, by falling score."""

    position: Tensor  # (N,K,2) in image widths from the left and from the top
    score: Tensor  # (N,K) in [0,1], 0 where an image has fewer peaks

    @property
    def found(self) -> Tensor:
        """Whether a peak is a detected eye, bool (N,K)."""
        return self.score > THRESHOLD


class EyeDetector(nn.Module):
    """Heatmap of the probability that an eye is at each place of an image (Zhou et al. 2019, CenterNet).

    A convolutional network that goes down to an eighth of the side and up again to a half.
    """

    def __init__(self, config: EyeDetectorConfig) -> None:
        """Initializes random weights, and a low score everywhere."""
        super().__init__()
        self.config = config
        fine, middle, coarse = config.widths
        self.fine = convolution(3, fine, stride=2)
        self.middle = nn.Sequential(convolution(fine, middle, stride=2), Residual(middle))
        self.coarse = nn.Sequential(
            convolution(middle, coarse, stride=2),
            Residual(coarse),
            Residual(coarse),
            nn.Conv2d(coarse, middle, 1),
        )
        self.up = nn.Sequential(Residual(middle), nn.Conv2d(middle, fine, 1))
        self.out = nn.Sequential(convolution(fine, fine), nn.Conv2d(fine, 1, 1))
        last = self.out[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.constant_(last.bias, -4.0)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B,h,w) for images (B,3,H,W) in [-1, 1]; h and w are half of the detector's size."""
        size = self.config.size
        if images.shape[-1] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        fine = self.fine(images)
        middle = self.middle(fine)
        middle = self.up(middle + F.interpolate(self.coarse(middle), scale_factor=2.0))
        return self.out(fine + F.interpolate(middle, scale_factor=2.0))[:, 0]

    @torch.no_grad()
    def detect(self, images: Tensor) -> Detections:
        """Peaks in images (B,3,H,W) in [-1, 1], on the CPU; the positions are accurate to a cell."""
        device = next(self.parameters()).device
        heat = self(images.to(device)).float().sigmoid().cpu()
        largest = F.max_pool2d(heat[:, None], NEIGHBORS, stride=1, padding=NEIGHBORS // 2)[:, 0]
        peaks = torch.where(heat == largest, heat, 0.0).flatten(1)
        score, cell = peaks.topk(min(MOST, peaks.shape[1]))
        side = heat.shape[-1]
        row, column = torch.div(cell, side, rounding_mode="floor"), cell % side
        return Detections((torch.stack([column, row], -1) + 0.5) / side, score)

    def save(self, folder: Path, notes: Mapping[str, Any]) -> None:
        """Writes config.json and model.safetensors (float16). notes: JSON values stored under "training"."""
        config = {"network": self.config.model_dump(mode="json"), "training": dict(notes)}
        save_folder(folder, config, self.state_dict())

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> EyeDetector:
        """The detector of a folder, float32, in evaluation mode. Raises UserError if missing or damaged."""
        stored = load_folder(folder)
        detector = cls(validate(stored.config.get("network"), EyeDetectorConfig, folder / CONFIG))
        load_weights(detector, stored.tensors, folder)
        return detector.to(device).eval()


def match_eyes(detections: Detections, eyes: Eyes) -> tuple[Tensor, Tensor]:
    """Assigns every visible eye the nearest free detection within `TOLERANCE`; the nearest pairs come first.

    Returns whether each eye was found, bool (N,E), and whether each detection is an eye, bool (N,K). Where a
    detection is at an eye in doubt, it counts as an eye; it is never an error.
    """
    distance = torch.cdist(eyes.position, detections.position)  # (N,E,K)
    allowed = (distance <= TOLERANCE) & detections.found[:, None]
    distance = torch.where(allowed & eyes.visible[..., None], distance, torch.inf)
    found = torch.zeros_like(eyes.visible)
    matched = (allowed & eyes.doubtful[..., None]).any(1)
    image = torch.arange(len(distance))
    for _ in range(distance.shape[1]):
        least, pair = distance.flatten(1).min(1)
        eye, detection = torch.div(pair, distance.shape[2], rounding_mode="floor"), pair % distance.shape[2]
        hit = least.isfinite()
        found[image[hit], eye[hit]] = True
        matched[image[hit], detection[hit]] = True
        distance[image[hit], eye[hit]] = torch.inf
        distance[image[hit], :, detection[hit]] = torch.inf
    return found, matched


def pair_found(detector: EyeDetector, images: Tensor, eyes: Eyes) -> Tensor:
    """Whether both eyes of the first head are found in images (N,3,H,W) in [-1, 1], bool (N,).

    eyes: those of renders of the same scenes; only rows with `eyes.pair` are meaningful.
    """
    if not eyes.visible.shape[1]:
        return torch.zeros(len(images), dtype=torch.bool)
    found, _ = match_eyes(detector.detect(images), eyes)
    return found[:, :2].all(1)
