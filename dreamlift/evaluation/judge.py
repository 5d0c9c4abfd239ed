"""The judge: a small classifier of toybox pictures, for honest figures about what the generators draw.

It learns from renders of other seeds than the generators, held-out pairs among them, and never teaches them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.errors import UserError
from core.io.presets import validate
from core.io.weights import CONFIG, load_folder, load_weights, save_folder
from core.toybox.actions import ACTIONS
from core.toybox.backdrops import BACKDROPS
from core.toybox.scenes import COLOR_NAMES, index_of
from core.toybox.subjects import SUBJECTS

SECTOR = 45  # degrees of azimuth
SPINNING = index_of(ACTIONS, "spinning")
LABELS: dict[str, tuple[str, ...]] = {
    "subject": tuple(subject.name for subject in SUBJECTS),
    "action": tuple(action.name for action in ACTIONS),
    "color": COLOR_NAMES,
    "background": tuple(backdrop.name for backdrop in BACKDROPS),
    "view": tuple(f"{azimuth} degrees" for azimuth in range(0, 360, SECTOR)),
}


def view_labels(azimuth: Tensor, action: Tensor) -> Tensor:
    """Sector of each azimuth (degrees), 0 from -22.5 to 22.5; -1 where there is no one side to be seen.

    Both (N,); `action` holds indices of actions, -1 for company or nobody. A spinning figure shows any
    side to any camera.
    """
    sector = (azimuth / SECTOR).round().long() % len(LABELS["view"])
    return torch.where((action == SPINNING) | (action < 0), -1, sector)


class JudgeConfig(BaseModel):
    """Sizes of a judge: the `network` part of its `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=64, multiple_of=16, gt=0, description="side in pixels; others are resized")
    widths: tuple[int, ...] = Field(
        default=(16, 32, 64, 128), min_length=2, max_length=4, description="channels; a level halves the side"
    )
    hidden: int = Field(default=128, ge=1, description="width of what the heads see of where things are")
    motion_width: int = Field(default=96, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1, description="in training")


class Judge(nn.Module):
    """Says of an image who does what, with what color, where, seen from where; of a clip, what is done.

    The action of a clip is read from motion alone: the head sees by what the frames' features differ from
    their mean over the clip, so that all still clips look alike to it. Its last class, `none`, is for clips
    without the motion of any action; it is learned from renders made still or with frames out of order.
    """

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        first, *others = config.widths
        self.trunk = nn.Sequential(_convolution(3, first, stride=2))
        for before, width in zip(config.widths, others, strict=False):
            self.trunk.extend([_convolution(before, width, stride=2), Residual(width)])
        width = config.widths[-1]
        self.dropout = nn.Dropout(config.dropout)
        # Figures stand in the middle, so where in the picture a thing is tells what is done with it.
        places = (config.size // 2 ** len(config.widths)) ** 2
        self.placed = nn.Sequential(nn.Linear(places * width, config.hidden), nn.ReLU())
        heads = {name: nn.Linear(config.hidden + width, len(words)) for name, words in LABELS.items()}
        self.heads = nn.ModuleDict(heads)
        self.motion = MotionHead(4 * width, config.motion_width, len(LABELS["action"]) + 1, config.dropout)

    @property
    def none(self) -> int:
        """The class of clips in which no known action happens, the last of `clip_action`."""
        return len(LABELS["action"])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (B,3,H,W) in [-1, 1] -> logits (B, number of labels) of each head in `LABELS`."""
        maps = self._maps(images)
        placed = self.placed(self.dropout(maps.flatten(1)))
        seen = self.dropout(torch.cat([placed, maps.amax(dim=(2, 3))], dim=1))
        return {name: head(seen) for name, head in self.heads.items()}

    def frame_features(self, images: Tensor) -> Tensor:
        """What the motion head sees of each frame: (B,3,H,W) -> (B,V), the features of four quarters."""
        return F.adaptive_avg_pool2d(self._maps(images), 2).flatten(1)

    def clip_action(self, clips: Tensor) -> Tensor:
        """Loops (B,3,F,H,W) in [-1, 1] -> logits (B, actions + 1), the last for `none`."""
        frames = clips.transpose(1, 2)
        return self.motion(self.frame_features(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]))

    def _maps(self, images: Tensor) -> Tensor:
        if images.shape[-1] != self.config.size:
            images = F.interpolate(images, self.config.size, mode="bilinear", antialias=True)
        return self.trunk(images)

    def save(self, folder: Path, notes: Mapping[str, Any]) -> None:
        """Writes config.json and model.safetensors (float16). notes: JSON values kept under "training"."""
        config = {"network": self.config.model_dump(mode="json"), "labels": LABELS, "training": dict(notes)}
        save_folder(folder, config, self.state_dict())

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Judge:
        """The judge of a folder, float32, in evaluation mode.

        Raises UserError when it is missing or damaged, or learned of another toybox.
        """
        stored = load_folder(folder)
        if stored.config.get("labels") != {name: list(words) for name, words in LABELS.items()}:
            raise UserError(
                f"The judge in {folder} knows another toybox: make it anew with dreamlift train judge."
            )
        judge = cls(validate(stored.config.get("network"), JudgeConfig, folder / CONFIG))
        load_weights(judge, stored.tensors, folder)
        return judge.to(device).eval()


class MotionHead(nn.Module):
    """Features of a loop's frames (B,F,V) -> logits (B,K), by what changes only; F >= 3."""

    def __init__(self, features: int, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.inlet = nn.Linear(features, width, bias=False)
        # A loop has no ends, hence circular.
        self.first = nn.Conv1d(width, width, 5, padding=2, padding_mode="circular")
        self.second = nn.Conv1d(width, width, 5, padding=2, padding_mode="circular")
        self.dropout = nn.Dropout(dropout)
        self.outlet = nn.Linear(2 * width, classes)

    def forward(self, features: Tensor) -> Tensor:
        # Not normalized: how far a feature moves tells actions apart.
        change = features - features.mean(dim=1, keepdim=True)
        x = self.inlet(self.dropout(change)).transpose(1, 2)
        x = F.relu(self.first(x))
        x = F.relu(self.second(x)) + x
        return self.outlet(self.dropout(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)))


class Residual(nn.Module):
    """Two convolutions beside the identity (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


def _convolution(before: int, width: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())
