"""The judge: a small classifier of toybox pictures that scores the samples of the generative models.

It is trained on renders of other seeds than the generators, held-out pairs included. The generators are never
trained against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.errors import UserError
from core.io.base_model import CONFIG
from core.io.presets import validate
from core.io.weights import load_folder, load_weights, save_folder
from core.toybox.actions import ACTIONS
from core.toybox.backdrops import BACKDROPS
from core.toybox.scenes import COLOR_NAMES, index_of
from core.toybox.subjects import SUBJECTS

SECTOR = 45  # degrees of azimuth
DETAIL = 2  # levels of the trunk whose maps describe the sharpness of an image
SPINNING = index_of(ACTIONS, "spinning")
LABELS: dict[str, tuple[str, ...]] = {
    "subject": tuple(subject.name for subject in SUBJECTS),
    "action": tuple(action.name for action in ACTIONS),
    "color": COLOR_NAMES,
    "background": tuple(backdrop.name for backdrop in BACKDROPS),
    "view": tuple(f"{azimuth} degrees" for azimuth in range(0, 360, SECTOR)),
}


def view_labels(azimuth: Tensor, action: Tensor) -> Tensor:
    """View labels (N,): the 45-degree sector of each azimuth; sector 0 is -22.5 to 22.5 degrees.

    The label is -1 where no single view is defined: for groups or no figure, and for spinning figures, which
    show every side to every camera.

    azimuth: degrees (N,). action: indices of actions (N,), -1 for groups or no figure.
    """
    sector = (azimuth / SECTOR).round().long() % len(LABELS["view"])
    return torch.where((action == SPINNING) | (action < 0), -1, sector)


class JudgeConfig(BaseModel):
    """Sizes of a judge: the `network` part of its `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=64, multiple_of=16, gt=0, description="side in pixels; others are resized")
    widths: tuple[int, ...] = Field(
        default=(16, 32, 64, 128), min_length=2, max_length=6, description="channels; a level halves the side"
    )
    plain: int = Field(default=1, ge=0, description="number of first levels without a residual block")
    hidden: int = Field(default=128, ge=1, description="width of the position-dependent features")
    motion_width: int = Field(default=96, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1, description="in training")


# The judges of pictures of 64 and of 256 pixels, 0.9 and 1.4 M parameters.
CONFIGS = {
    64: JudgeConfig(),
    256: JudgeConfig(size=256, widths=(16, 32, 48, 80, 112), plain=2, hidden=96),
}


class Judge(nn.Module):
    """Classifier of subject, action, color, background and view of an image, and of the action of a clip.

    The action of a clip is predicted from motion alone: the input of that head is the difference of the
    frames' features from their mean over the clip, so all still clips have the same input. Its last class,
    `none`, stands for clips without the motion of any action; it is trained on still renders and on renders
    with shuffled frames.
    """

    def __init__(self, config: JudgeConfig) -> None:
        """Initializes random weights."""
        super().__init__()
        self.config = config
        self.trunk = nn.Sequential()
        for level, (before, width) in enumerate(pairwise((3, *config.widths))):
            self.trunk.append(convolution(before, width, stride=2))
            if level >= config.plain:
                self.trunk.append(Residual(width))
        width = config.widths[-1]
        self.dropout = nn.Dropout(config.dropout)
        # Figures stand in the middle, so the position of a prop in the picture indicates the action.
        positions = (config.size // 2 ** len(config.widths)) ** 2
        self.placed = nn.Sequential(nn.Linear(positions * width, config.hidden), nn.ReLU())
        heads = {name: nn.Linear(config.hidden + width, len(words)) for name, words in LABELS.items()}
        self.heads = nn.ModuleDict(heads)
        self.motion = MotionHead(4 * width, config.motion_width, len(LABELS["action"]) + 1, config.dropout)

    @property
    def none(self) -> int:
        """Index of the class of clips without a known action, the last of `clip_action`."""
        return len(LABELS["action"])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (B, number of labels) of each head in `LABELS` for images (B,3,H,W) in [-1, 1]."""
        features = self.dropout(self.features(images))
        return {name: head(features) for name, head in self.heads.items()}

    def features(self, images: Tensor) -> Tensor:
        """Features (B,V) of images (B,3,H,W) in [-1, 1]: inputs of the heads and of Frechet distances."""
        maps = self._maps(images)
        placed = self.placed(self.dropout(maps.flatten(1)))
        return torch.cat([placed, maps.amax(dim=(2, 3))], dim=1)

    def detail_features(self, images: Tensor) -> Tensor:
        """Features (B,V) of the sharpness of images (B,3,H,W) in [-1, 1], for Frechet distances.

        Means and deviations over the image of the first `DETAIL` feature maps. The heads' features are
        trained to be the same for soft and noisy pictures; these are not.
        """
        maps, parts = self._resized(images), []
        level = 0
        for layer in self.trunk:
            maps = layer(maps)
            if not isinstance(layer, Residual):
                level += 1
                parts += [maps.mean(dim=(2, 3)), maps.std(dim=(2, 3))]
            if level == DETAIL:
                break
        return torch.cat(parts, dim=1)

    def frame_features(self, images: Tensor) -> Tensor:
        """Input features of the motion head (B,V) for frames (B,3,H,W): means over the four quadrants."""
        return F.adaptive_avg_pool2d(self._maps(images), 2).flatten(1)

    def clip_features(self, clips: Tensor) -> Tensor:
        """Features (B,V) of the motion in loops (B,3,F,H,W) in [-1, 1], for Frechet distances."""
        frames = clips.transpose(1, 2)
        features = self.frame_features(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return self.motion.features(features)

    def clip_action(self, clips: Tensor) -> Tensor:
        """Logits (B, actions + 1) for loops (B,3,F,H,W) in [-1, 1]; the last class is `none`."""
        return self.motion.outlet(self.motion.dropout(self.clip_features(clips)))

    def _maps(self, images: Tensor) -> Tensor:
        """Feature maps of images (B,3,H,W), which are resized to the judge's size if needed."""
        return self.trunk(self._resized(images))

    def _resized(self, images: Tensor) -> Tensor:
        """Images (B,3,H,W) at the judge's size."""
        if images.shape[-1] == self.config.size:
            return images
        return F.interpolate(images, self.config.size, mode="bilinear", antialias=True)

    def save(self, folder: Path, notes: Mapping[str, Any]) -> None:
        """Writes config.json and model.safetensors (float16). notes: JSON values stored under "training"."""
        config = {"network": self.config.model_dump(mode="json"), "labels": LABELS, "training": dict(notes)}
        save_folder(folder, config, self.state_dict())

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Judge:
        """The judge of a folder, float32, in evaluation mode.

        Raises UserError when it is missing or damaged, or was trained with other labels.
        """
        stored = load_folder(folder)
        if stored.config.get("labels") != {name: list(words) for name, words in LABELS.items()}:
            raise UserError(
                f"The judge in {folder} was trained for another toybox: train a new one with "
                "dreamlift train judge."
            )
        judge = cls(validate(stored.config.get("network"), JudgeConfig, folder / CONFIG))
        load_weights(judge, stored.tensors, folder)
        return judge.to(device).eval()


class MotionHead(nn.Module):
    """Classifier of the action from the temporal change of frame features; circular in time."""

    def __init__(self, features: int, width: int, classes: int, dropout: float) -> None:
        """features: V of each frame. width: hidden channels. classes: K logits."""
        super().__init__()
        self.inlet = nn.Linear(features, width, bias=False)
        # A loop has no ends, hence circular padding.
        self.first = nn.Conv1d(width, width, 5, padding=2, padding_mode="circular")
        self.second = nn.Conv1d(width, width, 5, padding=2, padding_mode="circular")
        self.dropout = nn.Dropout(dropout)
        self.outlet = nn.Linear(2 * width, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,K) of the frame features of loops (B,F,V), F >= 3."""
        return self.outlet(self.dropout(self.features(features)))

    def features(self, features: Tensor) -> Tensor:
        """Features (B, 2 width) of the motion, from the frame features of loops (B,F,V)."""
        # Not normalized: the size of the change distinguishes actions.
        change = features - features.mean(dim=1, keepdim=True)
        x = self.inlet(self.dropout(change)).transpose(1, 2)
        x = F.relu(self.first(x))
        x = F.relu(self.second(x)) + x
        return torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)


class Residual(nn.Module):
    """Residual block of two convolutions (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        """width: input and output channels."""
        super().__init__()
        self.first = convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (B,C,H,W) of the same shape."""
        return F.relu(x + self.second(self.first(x)))


def convolution(before: int, width: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch normalization and ReLU, from `before` to `width` channels."""
    convolution = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())
