"""Encoder of images to one feature vector: the downsampling half of a U-Net with attention pooling."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from core.nn.attention import MultiHeadAttention
from core.nn.backbone import BackboneConfig, apply_resampling
from core.nn.blocks import SelfAttentionBlock, group_norm
from core.nn.embeddings import timestep_embedding


class ImageEncoderConfig(BackboneConfig):
    """Configuration of an encoder: its levels and the side of its images."""

    size: int = Field(default=64, ge=1, description="side of the images or latents")

    @model_validator(mode="after")
    def _fits(self) -> "ImageEncoderConfig":
        self._check_heads(self.widths[-1])  # of the pooling
        if self.size % self.stride:
            raise ValueError(f"size {self.size} is not a multiple of {self.stride}")
        return self


class ImageEncoder(nn.Module):
    """Features of noised images: the encoder of ADM's classifier (Dhariwal and Nichol 2021, section 4)."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.config = config
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

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x: (B,C,size,size) noised to t; t: (B,) timesteps, zeros for clean images. Returns (B,widths[-1]).

        Raises ValueError for images of another shape.
        """
        config = self.config
        shape = (config.in_channels, config.size, config.size)
        if x.shape[1:] != shape:
            raise ValueError(f"images must be (B,{','.join(map(str, shape))}), not {tuple(x.shape)}")
        embedding = self.time(timestep_embedding(t, config.widths[0]).to(x.dtype))
        h = self.stem(F.pixel_unshuffle(x, config.patch))
        for number, layers in enumerate(self.levels):
            if number > 0:
                h = apply_resampling(self.downsample[number - 1], h, embedding)
            for layer in layers:  # pyright: ignore[reportGeneralTypeIssues]
                h = layer(h) if isinstance(layer, SelfAttentionBlock) else layer(h, embedding)
        return self.pool(self.activation(self.out_norm(h)))


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
