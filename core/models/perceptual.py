"""Perceptual distance of two images: the distance of a network's features, as in LPIPS.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric". Their networks
are trained on photographs. Here the backbone may be any network, such as one trained on images of the toybox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.io.weights import load_model, save_model
from core.nn.blocks import Downsample, check_group_widths, group_norm


class PerceptualDistance(nn.Module):
    """Perceptual distance of images by the features of a backbone: (B,3,H,W) twice -> (B,).

    Zhang et al., equation 1, with all weights w = 1: the sum over the layers of the mean over positions of
    |a - b|^2. a and b are the features at a position, normalized to length 1 over the channels. Each layer's
    term is in [0, 4]; the distance is 0 where all features are equal. The images have a gradient, the frozen
    backbone has none.
    """

    def __init__(self, backbone: nn.Module) -> None:
        """backbone: images (B,3,H,W) in [-1, 1] -> feature maps [(B,C,h,w), ...] of its layers."""
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """The distance (B,) of each image from the other; both (B,3,H,W) in [-1, 1]."""
        features: Sequence[Tensor] = self.backbone(torch.cat([images, others]))
        layers = [F.normalize(layer.float(), dim=1, eps=1e-8).chunk(2) for layer in features]
        return torch.stack([(a - b).square().sum(1).flatten(1).mean(1) for a, b in layers]).sum(0)

    def train(self, mode: bool = True) -> PerceptualDistance:
        """Has no effect: the module stays in evaluation mode."""
        return super().train(False)


class FeatureExtractorConfig(BaseModel):
    """Configuration of a feature extractor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: Annotated[tuple[int, ...], AfterValidator(check_group_widths)] = Field(
        default=(16, 32, 64, 128),
        min_length=1,
        max_length=5,
        description="channels; each level halves the side",
    )


class FeatureExtractor(nn.Module):
    """Convolutional feature extractor of images (B,3,H,W) in [-1, 1], with features of every level.

    A level is a strided and a plain convolution, each followed by group norm and ReLU.
    """

    def __init__(self, config: FeatureExtractorConfig) -> None:
        super().__init__()
        self.config = config
        before = (3, *config.widths)
        self.levels = nn.ModuleList(
            nn.Sequential(
                *(Downsample(narrow, width), group_norm(width), nn.ReLU()),
                *(nn.Conv2d(width, width, 3, padding=1), group_norm(width), nn.ReLU()),
            )
            for narrow, width in zip(before, config.widths, strict=False)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features (B,C,H,W / 2^level) of every level, finest first."""
        features = []
        for level in self.levels:
            images = level(images)
            features.append(images)
        return features

    def save(self, folder: Path, notes: Mapping[str, Any] | None = None) -> None:
        """Writes config.json and model.safetensors (float16). notes: JSON values stored under "training"."""
        save_model(folder, "trunk", self.config, self, notes)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> FeatureExtractor:
        """The feature extractor stored in a folder, float32, in evaluation mode, without gradient.

        Raises UserError when it is missing, damaged, or its weights do not fit its config.
        """
        _, model = load_model(folder, "trunk", FeatureExtractorConfig, cls)
        return model.to(device).eval().requires_grad_(False)
