"""Configuration of the levels of a U-Net or of its downsampling half, and the blocks of each level."""

from typing import Literal

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from core.nn.blocks import (
    GROUP_WIDTH,
    AdaptiveGroupNorm,
    AddedGroupNorm,
    ConvNeXtBlock,
    Downsample,
    ResidualBlock,
    TensorMap,
    Upsample,
    downsample_2x,
    upsample_2x,
)


class BackboneConfig(BaseModel):
    """Configuration of the levels; tuples have one entry per level, from finest to coarsest resolution."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    in_channels: int = Field(default=3, ge=1)
    patch: int = Field(default=4, ge=1, description="side in pixels of the square that becomes one position")
    widths: tuple[int, ...] = Field(default=(96, 192, 192), min_length=1)
    blocks: tuple[int, ...] = Field(default=(1, 1, 1), description="blocks per level, in each direction")
    attention: tuple[bool, ...] = Field(default=(False, True, True), description="attention at the level")
    head_width: int = Field(default=32, ge=8)
    heads: int | None = Field(default=None, ge=1, description="number of heads, in place of head_width")
    block: Literal["residual", "convnext"] = "residual"
    layer_scale: float | None = Field(default=None, gt=0, description="of ConvNeXt blocks; null disables it")
    resampling: Literal["convolution", "residual"] = Field(
        default="convolution", description="layers between levels; residual: BigGAN's blocks"
    )
    activation: Literal["silu", "gelu"] = Field(default="silu", description="silu is also called swish")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    norm: Literal["adaptive", "added"] = Field(
        default="adaptive", description="of residual blocks: adaptive group norm, or DDPM's added embedding"
    )

    @model_validator(mode="after")
    def _levels_agree(self) -> "BackboneConfig":
        for name in ("blocks", "attention"):
            if len(getattr(self, name)) != len(self.widths):
                raise ValueError(f"{name} must have one entry per level: {len(self.widths)}, as widths has")
        if min(self.blocks, default=1) < 1:
            raise ValueError("blocks must be at least 1 at every level")
        for width, attention in zip(self.widths, self.attention, strict=True):
            if width < 1 or width % GROUP_WIDTH:
                raise ValueError(f"width {width} is not a positive multiple of {GROUP_WIDTH}")
            if attention:
                self._check_heads(width)
        if self.norm == "added" and self.block != "residual":
            raise ValueError("norm applies to residual blocks only: leave it at adaptive")
        if self.layer_scale is not None and self.block != "convnext":
            raise ValueError("layer_scale applies to ConvNeXt blocks only: set block to convnext")
        return self

    def _check_heads(self, width: int) -> None:
        """Raises ValueError unless the width is divisible into heads."""
        if self.heads and width % self.heads:
            raise ValueError(f"width {width} is not a multiple of the number of heads, {self.heads}")
        if not self.heads and width % self.head_width:
            raise ValueError(f"width {width} is not a multiple of head_width {self.head_width}")

    @property
    def stride(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return self.patch * 2 ** (len(self.widths) - 1)

    @property
    def patch_channels(self) -> int:
        """Values in a patch: in_channels * patch^2."""
        return self.in_channels * self.patch**2

    @property
    def embedding_width(self) -> int:
        """Channels of the embedding that conditions the adaptive norms."""
        return 4 * self.widths[0]

    @property
    def nonlinearity(self) -> TensorMap:
        """The activation as a function."""
        return F.silu if self.activation == "silu" else F.gelu

    def head_width_at(self, level: int) -> int:
        """Channels of one attention head at a level."""
        return self.widths[level] // self.heads if self.heads else self.head_width

    def make_block(self, level: int, in_width: int) -> ResidualBlock | ConvNeXtBlock:
        """A new block of a level: (B,in_width,h,w), (B,embedding_width) -> (B,width,h,w)."""
        common = in_width, self.widths[level], self.embedding_width, self.dropout, self.nonlinearity
        if self.block == "convnext":
            return ConvNeXtBlock(*common, self.layer_scale)
        return ResidualBlock(*common, norm=self._norm)

    @property
    def _norm(self) -> type[AdaptiveGroupNorm] | type[AddedGroupNorm]:
        return AdaptiveGroupNorm if self.norm == "adaptive" else AddedGroupNorm

    def make_downsample(self, fine: int, coarse: int) -> nn.Module:
        """A new layer from the width of a level to that of the next coarser one; see `apply_resampling`."""
        return self._resampling(fine, coarse, downsample_2x) or Downsample(fine, coarse)

    def make_upsample(self, coarse: int, fine: int) -> nn.Module:
        """A new layer from the width of a level to that of the next finer one; see `apply_resampling`."""
        return self._resampling(coarse, fine, upsample_2x) or Upsample(coarse, fine)

    def _resampling(self, in_width: int, width: int, resample: TensorMap) -> ResidualBlock | None:
        """A new residual block that resamples, or None where a convolution does."""
        if self.resampling == "convolution":
            return None
        common = in_width, width, self.embedding_width, self.dropout, self.nonlinearity
        return ResidualBlock(*common, resample, norm=self._norm)


def apply_resampling(layer: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    """The output of a layer of `BackboneConfig.make_downsample` or `make_upsample`.

    h: (B,C,h,w); embedding: (B,E), used by residual blocks only.
    """
    return layer(h, embedding) if isinstance(layer, ResidualBlock) else layer(h)
