"""Diffusion prior: from a text to the embedding of an image that it describes.

Ramesh et al. 2022, section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.io.weights import load_model, save_model
from core.models.unclip.contrastive import ContrastiveModel
from core.nn.attention import MultiHeadAttention
from core.nn.blocks import FeedForward
from core.nn.embeddings import timestep_embedding
from core.samplers import noise_like
from core.sampling import sample_latents
from core.sampling_options import SamplingOptions

ADDED = 4  # tokens after the text: its embedding, the timestep, the noised embedding, the predicting one


class PriorConfig(BaseModel):
    """Configuration of a diffusion prior."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding: int = Field(default=128, ge=2, description="width of the joint embedding")
    context_width: int = Field(default=384, ge=1, description="width of the text's token states")
    width: int = Field(default=192, ge=8)
    layers: int = Field(default=6, ge=1)
    head_width: int = Field(default=32, ge=8)
    feed_forward: int = Field(default=2, ge=1, description="hidden width over width")
    noise_schedule: dict[str, Any] = {"name": "cosine"}

    @model_validator(mode="after")
    def _heads_fit(self) -> PriorConfig:
        if self.width % self.head_width:
            raise ValueError(f"width {self.width} is not a multiple of head_width {self.head_width}")
        return self

    def denoiser(self) -> Denoiser:
        """A denoiser with a fresh network, which predicts x0: a unit embedding times sqrt(`embedding`)."""
        schedule = NoiseSchedule.from_dict(self.noise_schedule)
        return Denoiser(PriorNetwork(self), schedule, Parameterization.X0)


class PriorLayer(nn.Module):
    """Layer of a decoder-only transformer: causal self-attention and feed-forward, pre-norm and residual."""

    def __init__(self, width: int, head_width: int, feed_forward: int) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, head_width)
        self.feed_forward = FeedForward(width, feed_forward * width)

    def forward(self, x: Tensor, mask: Tensor, causal: Tensor) -> Tensor:
        """x: (B,N,width); mask: (B,N) bool; causal: (heads,N,N), added to the logits. Returns as x."""
        x = x + self.attention(self.attention_norm(x), mask=mask, bias=causal)
        return x + self.feed_forward(self.feed_norm(x))


class PriorNetwork(nn.Module):
    """Transformer over the text's tokens, its embedding, the timestep and the noised image embedding.

    One more token, whose input is learned, predicts the clean embedding. Every token attends to those before
    it.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.context_norm = nn.LayerNorm(config.context_width)
        self.context = nn.Linear(config.context_width, width)
        self.text = nn.Linear(config.embedding, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.image = nn.Linear(config.embedding, width)
        self.places = nn.Parameter(torch.randn(ADDED, width) / width**0.5)
        self.layers = nn.ModuleList(
            PriorLayer(width, config.head_width, config.feed_forward) for _ in range(config.layers)
        )
        self.out_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.embedding)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The clean embedding (B,D) of x (B,D) noised to t (B,).

        condition: of length B, `pooled` the unit embedding (B,D) of the text. Raises ValueError without it.
        """
        if condition.pooled is None:
            raise ValueError("the prior needs the embedding of the text: condition.pooled")
        scale = self.config.embedding**0.5
        added = [
            self.text(scale * condition.pooled),
            self.time(timestep_embedding(t, self.config.width).to(x.dtype)),
            self.image(x),
            torch.zeros_like(condition.pooled[:, :1]).expand(-1, self.config.width),
        ]
        h = torch.cat(
            [self.context(self.context_norm(condition.tokens)), torch.stack(added, dim=1) + self.places],
            dim=1,
        )
        mask = torch.cat([condition.mask, condition.mask.new_ones(len(x), ADDED)], dim=1)
        count = h.shape[1]
        causal = torch.full((count, count), float("-inf"), device=x.device, dtype=x.dtype).triu(1)
        causal = causal.expand(self.config.width // self.config.head_width, -1, -1)
        for layer in self.layers:
            h = layer(h, mask, causal)
        return self.out(self.out_norm(h[:, -1]))


class DiffusionPrior:
    """Samples image embeddings of texts."""

    def __init__(self, config: PriorConfig, denoiser: Denoiser) -> None:
        """denoiser: on the device to be used, made by `config.denoiser()`."""
        self.config, self.denoiser = config, denoiser.eval()

    def sample(
        self,
        condition: Condition,
        negative: Condition,
        generators: Sequence[torch.Generator],
        options: SamplingOptions,
        candidates: int = 2,
    ) -> Tensor:
        """Unit image embeddings (B,D).

        Of several candidates for each text the one is kept whose product with the text's embedding is
        largest; the paper takes two.

        condition, negative: of `with_text_embedding`; of length B, and 1. generators: one for each text.
        """
        texts = condition.pooled
        if texts is None:
            raise ValueError("the prior needs the embedding of the text: condition.pooled")
        drawn: list[Tensor] = []
        for _ in range(candidates):
            noise = noise_like(texts.shape, generators).to(texts)
            drawn.append(sample_latents(self.denoiser, noise, condition, negative, options, generators))
        embeddings = F.normalize(torch.stack(drawn), dim=-1)
        best = (embeddings * texts).sum(-1).argmax(0)
        return embeddings[best, torch.arange(len(texts), device=texts.device)]

    def save(self, folder: Path, notes: Mapping[str, Any] | None = None, int8: bool = False) -> None:
        """Writes config.json and model.safetensors (float16, or int8 as in `save_folder`).

        notes: JSON values stored under "training".
        """
        save_model(folder, "prior", self.config, self.denoiser.network, notes, int8)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> DiffusionPrior:
        """The prior of a folder, in float32.

        Raises UserError when it is missing, damaged, or its weights do not fit its config.
        """
        config, denoiser = load_model(folder, "prior", PriorConfig, PriorConfig.denoiser, "network")
        return cls(config, denoiser.to(device).requires_grad_(False))


def with_text_embedding(condition: Condition, model: ContrastiveModel) -> Condition:
    """The condition with the text's embedding as `pooled`, which a prior reads."""
    return replace(condition, pooled=model.embed_texts(condition.tokens, condition.mask))
