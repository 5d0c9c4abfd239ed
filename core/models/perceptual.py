"""How unlike two images look to a network: distances of its features, as LPIPS takes them.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric". Their networks
have learned of photographs; here any trunk will do, such as one that learned what a small world shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.io.presets import validate
from core.io.weights import CONFIG, load_folder, load_weights, save_folder
from core.nn.blocks import Downsample, check_group_widths, group_norm


class PerceptualDistance(nn.Module):
    """The distance of images by a trunk's features: (B,3,H,W) twice -> (B,), 0 where all features are equal.

    Zhang et al., equation 1, with all weights w 1: over the layers, the sum of the mean over positions of
    |a - b|^2, a and b the features there, scaled to length 1 over the channels. Each layer's part is in
    [0, 4]. The gradient goes to the images; the trunk stays as it is.
    """

    def __init__(self, backbone: nn.Module) -> None:
        """trunk: images (B,3,H,W) in [-1, 1] -> feature maps [(B,C,h,w), ...] of its layers."""
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        features: Sequence[Tensor] = self.backbone(torch.cat([images, others]))
        layers = [F.normalize(layer.float(), dim=1, eps=1e-8).chunk(2) for layer in features]
        return torch.stack([(a - b).square().sum(1).flatten(1).mean(1) for a, b in layers]).sum(0)

    def train(self, mode: bool = True) -> PerceptualDistance:
        """Stays in evaluation mode."""
        return super().train(False)


class FeatureExtractorConfig(BaseModel):
    """The shape of a trunk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: Annotated[tuple[int, ...], AfterValidator(check_group_widths)] = Field(
        default=(16, 32, 64, 128), min_length=1, max_length=5, description="channels; a level halves the side"
    )


class FeatureExtractor(nn.Module):
    """Images (B,3,H,W) in [-1, 1] -> the features of every level, (B,C,H,W / 2^level), finest first.

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
        features = []
        for level in self.levels:
            images = level(images)
            features.append(images)
        return features

    def save(self, folder: Path, notes: Mapping[str, Any] | None = None) -> None:
        """Writes config.json and model.safetensors (float16). notes: JSON values kept under "training"."""
        config = {"trunk": self.config.model_dump(mode="json"), "training": dict(notes or {})}
        save_folder(folder, config, self.state_dict())

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> FeatureExtractor:
        """The trunk of a folder, float32, in evaluation mode, without gradient.

        Raises UserError when it is missing, damaged or does not fit.
        """
        stored = load_folder(folder)
        trunk = cls(validate(stored.config.get("trunk"), FeatureExtractorConfig, folder / CONFIG))
        load_weights(trunk, stored.tensors, folder)
        return trunk.to(device).eval().requires_grad_(False)
