"""Joint embedding of texts and images by a contrastive model.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision" (CLIP). The image
encoder is trained from nothing; the text encoder is the bundled one, frozen, with two trained layers on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from core.io.weights import load_model, save_model
from core.nn.image_encoder import ImageEncoder, ImageEncoderConfig

LARGEST_SCALE = 100.0  # of the cosines, as in CLIP


class ContrastiveConfig(ImageEncoderConfig):
    """Configuration of a contrastive model. Its images are pixels."""

    embedding: int = Field(default=128, ge=2, description="width of the joint embedding")
    context_width: int = Field(default=384, ge=1, description="width of the text's token states")


class ContrastiveModel(nn.Module):
    """Embeddings of images and of texts on one unit sphere; those of a pair are close."""

    def __init__(self, config: ContrastiveConfig) -> None:
        super().__init__()
        self.config = config
        width = config.context_width
        self.image_encoder = ImageEncoder(config)
        self.image_out = nn.Linear(config.widths[-1], config.embedding, bias=False)
        self.text_layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, config.embedding)
        )
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    @property
    def scale(self) -> Tensor:
        """Factor on the cosines in the logits: the inverse of CLIP's temperature, at most 100."""
        return self.log_scale.exp().clamp(max=LARGEST_SCALE)

    def forward(self, images: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings of images and of texts, (B,embedding) each, and the scale. Arguments as below."""
        return self.embed_images(images), self.embed_texts(tokens, mask), self.scale

    def embed_images(self, images: Tensor) -> Tensor:
        """Unit vectors (B,embedding) of images (B,3,size,size) in [-1, 1]."""
        clean = torch.zeros(len(images), device=images.device)
        return F.normalize(self.image_out(self.image_encoder(images, clean)), dim=1)

    def embed_texts(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors (B,embedding) of the token states (B,L,context_width) of texts. mask: (B,L) bool."""
        weights = mask.to(tokens.dtype)[..., None]
        return F.normalize(self.text_layers((tokens * weights).sum(1) / weights.sum(1)), dim=1)

    @property
    def fingerprint(self) -> str:
        """Hash of everything that determines the embeddings, in half precision: 12 hexadecimal digits."""
        digest = sha256(self.config.model_dump_json().encode())
        for _, value in sorted(self.state_dict().items()):
            digest.update(value.detach().cpu().half().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def save(self, folder: Path, notes: Mapping[str, Any] | None = None, int8: bool = False) -> None:
        """Writes config.json and model.safetensors (float16, or int8 as in `save_folder`).

        notes: JSON values stored under "training".
        """
        save_model(folder, "contrastive", self.config, self, notes, int8)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> ContrastiveModel:
        """The model of a folder, float32, in evaluation mode, without gradient of its weights.

        Raises UserError when it is missing, damaged, or its weights do not fit its config.
        """
        _, model = load_model(folder, "contrastive", ContrastiveConfig, cls)
        return model.to(device).eval().requires_grad_(False)
