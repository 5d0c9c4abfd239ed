"""Classifier of noisy images, for classifier guidance.

Dhariwal and Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis", section 4. It is trained on images
noised as in diffusion.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from core.diffusion.schedule import NoiseSchedule
from core.io.weights import load_model, save_model
from core.nn.blocks import zero_init
from core.nn.image_encoder import ImageEncoder, ImageEncoderConfig


class ClassifierConfig(ImageEncoderConfig):
    """Configuration of a classifier and its noise schedule."""

    classes: int = Field(default=10, ge=2)
    noise_schedule: dict[str, Any] = {"name": "cosine"}  # noqa: RUF012  (pydantic copies it)


class NoisyClassifier(ImageEncoder):
    """Classifier of x_t at t: logits of the class of x_0. A new one predicts equal probabilities.

    Raises UserError for an unknown noise schedule.
    """

    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__(config)
        self.schedule = NoiseSchedule.from_dict(config.noise_schedule)
        self.out = zero_init(nn.Linear(config.widths[-1], config.classes))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x: (B,C,size,size) noised to t; t: (B,) timesteps. Returns logits (B,classes).

        Raises ValueError for images of another shape.
        """
        return self.out(super().forward(x, t))

    def save(self, folder: Path, notes: Mapping[str, Any] | None = None) -> None:
        """Writes config.json and model.safetensors (float16). notes: JSON values stored under "training"."""
        save_model(folder, "classifier", self.config, self, notes)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> NoisyClassifier:
        """The classifier stored in a folder, float32, in evaluation mode, without gradient of its weights.

        Raises UserError when it is missing, damaged, or its weights do not fit its config.
        """
        _, model = load_model(folder, "classifier", ClassifierConfig, cls)
        return model.to(device).eval().requires_grad_(False)
