"""Classifier of noisy images, for classifier guidance.

Dhariwal and Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis", section 4. It is the downsampling
half of their U-Net with attention pooling at its end, conditioned on the timestep and trained on images
noised as in diffusion.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from core.diffusion.schedule import NoiseSchedule
from core.io.base_model import CONFIG
from core.io.presets import validate
from core.io.weights import load_folder, load_weights, save_folder
from core.nn.attention import MultiHeadAttention
from core.nn.backbone import BackboneConfig, apply_resampling
from core.nn.blocks import SelfAttentionBlock, group_norm
from core.nn.embeddings import timestep_embedding


class ClassifierConfig(BackboneConfig):
    """Configuration of a classifier and its noise schedule."""

    classes: int = Field(default=10, ge=2)
    size: int = Field(default=64, ge=1, description="side of the images or latents")
    noise_schedule: dict[str, Any] = {"name": "cosine"}  # noqa: RUF012  (pydantic copies it)

    @model_validator(mode="after")
    def _fits(self) -> ClassifierConfig:
        self._check_heads(self.widths[-1])  # of the pooling
        if self.size % self.stride:
            raise ValueError(f"size {self.size} is not a multiple of {self.stride}")
        return self


class NoisyClassifier(nn.Module):
    """Classifier of x_t at t: logits of the class of x_0. A new one predicts equal probabilities.

    Raises UserError for an unknown noise schedule.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = NoiseSchedule.from_dict(config.noise_schedule)
        self.activation = config.nonlinearity
        widths, side = config.widths, config.size // config.stride

        def level(number: int) -> nn.ModuleList:
            width = widths[number]
            layers: list[nn.Module] = []
            for _ in range(config.blocks[number]):
                layers.append(config.make_block(number, width))
                if config.attention[number]:
                    layers.append(SelfAttentionBlock(width, config.head_width_at(number)))
            return nn.ModuleList(layers)

        embedding = config.embedding_width
        self.time = nn.Sequential(nn.Linear(widths[0], embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.stem = nn.Conv2d(config.patch_channels, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(level(number) for number in range(len(widths)))
        self.downsample = nn.ModuleList(
            config.make_downsample(fine, coarse) for fine, coarse in pairwise(widths)
        )
        self.out_norm = group_norm(widths[-1])
        self.pool = AttentionPool(widths[-1], side**2, config.head_width_at(-1))
        self.out = nn.Linear(widths[-1], config.classes)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x: (B,C,size,size) noised to t; t: (B,) timesteps. Returns logits (B,classes).

        Raises ValueError for images of another shape.
        """
        config = self.config
        if x.shape[1:] != (config.in_channels, config.size, config.size):
            expected = f"(B,{config.in_channels},{config.size},{config.size})"
            raise ValueError(f"images must be {expected}, not {tuple(x.shape)}")
        embedding = self.time(timestep_embedding(t, config.widths[0]).to(x.dtype))
        h = self.stem(F.pixel_unshuffle(x, config.patch))
        for number, layers in enumerate(self.levels):
            if number > 0:
                h = apply_resampling(self.downsample[number - 1], h, embedding)
            for layer in layers:  # pyright: ignore[reportGeneralTypeIssues]
                h = layer(h) if isinstance(layer, SelfAttentionBlock) else layer(h, embedding)
        return self.out(self.pool(self.activation(self.out_norm(h))))

    def save(self, folder: Path, notes: Mapping[str, Any] | None = None) -> None:
        """Writes config.json and model.safetensors (float16). notes: JSON values stored under "training"."""
        config = {"classifier": self.config.model_dump(mode="json"), "training": dict(notes or {})}
        save_folder(folder, config, self.state_dict())

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> NoisyClassifier:
        """The classifier stored in a folder, float32, in evaluation mode, without gradient of its weights.

        Raises UserError when it is missing, damaged, or its weights do not fit its config.
        """
        stored = load_folder(folder)
        classifier = cls(validate(stored.config.get("classifier"), ClassifierConfig, folder / CONFIG))
        load_weights(classifier, stored.tensors, folder)
        return classifier.to(device).eval().requires_grad_(False)


class AttentionPool(nn.Module):
    """Attention pooling of a feature map to one vector: the mean is the query, all positions are keys.

    The attention pooling of CLIP (Radford et al. 2021, section 2.4) and of ADM's classifier. The mean is
    added to the result, so that a new layer is average pooling.
    """

    def __init__(self, width: int, positions: int, head_width: int) -> None:
        """positions: number of positions of the feature map, h*w."""
        super().__init__()
        self.position = nn.Parameter(torch.randn(positions + 1, width) / width**0.5)
        self.attention = MultiHeadAttention(width, head_width, context_width=width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B,C,h,w). Returns (B,C)."""
        positions = x.flatten(2).transpose(1, 2)
        mean = positions.mean(1, keepdim=True)
        tokens = torch.cat([mean, positions], dim=1) + self.position
        return (mean + self.attention(tokens[:, :1], tokens))[:, 0]
