"""The image network: a small text-conditioned U-Net on patches of pixels."""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from core.attributes import WIDTH as ATTRIBUTE_WIDTH
from core.condition import Condition
from core.nn.blocks import (
    GROUP_WIDTH,
    Downsample,
    ResidualBlock,
    SpatialBlock,
    TransformerBlock,
    Upsample,
    group_norm,
    zero_init,
)
from core.nn.embeddings import ConditionEmbedding

AfterBlock = Callable[[int, Tensor, Tensor], Tensor]
"""(index of the spatial block, its output (B,C,H,W), embedding (B,E)) -> what goes on, like the output."""


class UNetConfig(BaseModel):
    """The shape of a U-Net. The per-level tuples run from the finest resolution to the coarsest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    in_channels: int = Field(default=3, ge=1)
    out_channels: int | None = Field(default=None, ge=1, description="in_channels unless given")
    patch: int = Field(default=4, ge=1, description="side in pixels of the square that becomes one position")
    widths: tuple[int, ...] = Field(default=(96, 192, 192), min_length=1)
    blocks: tuple[int, ...] = Field(default=(1, 1, 1), description="blocks a level, down as well as up")
    attention: tuple[bool, ...] = Field(default=(False, True, True), description="transformers at the level")
    head_width: int = Field(default=32, ge=8)
    feed_forward: int = Field(default=2, ge=0, description="hidden width over width; 0 for no feed-forward")
    context_width: int = Field(default=384, ge=1)
    attribute_width: int = Field(default=ATTRIBUTE_WIDTH, ge=1)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _levels_agree(self) -> "UNetConfig":
        for name in ("blocks", "attention"):
            if len(getattr(self, name)) != len(self.widths):
                raise ValueError(f"{name} must have one entry a level: {len(self.widths)}, as widths has")
        if min(self.blocks, default=1) < 1:
            raise ValueError("blocks must be at least 1 at every level")
        for width, attention in zip(self.widths, self.attention, strict=True):
            if width < 1 or width % GROUP_WIDTH:
                raise ValueError(f"width {width} is not a positive multiple of {GROUP_WIDTH}")
            if attention and width % self.head_width:
                raise ValueError(f"width {width} is not a multiple of head_width {self.head_width}")
        return self

    @property
    def stride(self) -> int:
        """Pixels, the sides of an image must be multiples of."""
        return self.patch * 2 ** (len(self.widths) - 1)

    @property
    def embedding_width(self) -> int:
        """Channels of the embedding of timestep, pooled text and attributes."""
        return 4 * self.widths[0]


class UNet(nn.Module):
    """Ronneberger et al. 2015, with the blocks of Dhariwal and Nichol 2021 and text by cross-attention.

    Works on patch x patch squares of pixels (space to depth), one skip connection a block. The output layer
    starts at zero, so that a fresh network returns zeros.
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        widths, patch_channels = config.widths, config.in_channels * config.patch**2
        out_channels = (config.out_channels or config.in_channels) * config.patch**2

        def block(level: int, in_width: int) -> SpatialBlock:
            width = widths[level]
            transformer = None
            if config.attention[level]:
                transformer = TransformerBlock(
                    width, config.head_width, config.context_width, config.feed_forward
                )
            residual = ResidualBlock(in_width, width, config.embedding_width, config.dropout)
            return SpatialBlock(residual, transformer)

        levels = range(len(widths))
        self.embedding = ConditionEmbedding(
            widths[0], config.embedding_width, config.context_width, config.attribute_width
        )
        self.context_norm = nn.LayerNorm(config.context_width)
        self.stem = nn.Conv2d(patch_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.ModuleList(block(level, widths[level]) for _ in range(config.blocks[level]))
            for level in levels
        )
        self.downsample = nn.ModuleList(Downsample(fine, coarse) for fine, coarse in pairwise(widths))
        self.middle = block(levels[-1], widths[-1])
        self.up = nn.ModuleList(
            nn.ModuleList(block(level, 2 * widths[level]) for _ in range(config.blocks[level]))
            for level in levels
        )
        self.upsample = nn.ModuleList(Upsample(coarse, fine) for fine, coarse in pairwise(widths))
        self.out_norm = group_norm(widths[0])
        self.out = zero_init(nn.Conv2d(widths[0], out_channels, 3, padding=1))

    @property
    def block_widths(self) -> list[int]:
        """Channels of the output of every spatial block, in the order in which forward runs them."""
        levels = zip(self.config.widths, self.config.blocks, strict=True)
        down = [width for width, count in levels for _ in range(count)]
        return [*down, self.config.widths[-1], *reversed(down)]

    def forward(
        self, x: Tensor, t: Tensor, condition: Condition, after_block: AfterBlock | None = None
    ) -> Tensor:
        """The raw output of the network; what it means is the parameterization's business.

        Args:
            x: (B,C,H,W), H and W multiples of `config.stride`; or (B*F,C,H,W), the F frames of every clip in
                turn, that share the clip's timestep and text.
            t: (B,) timesteps, integer or fractional.
            condition: of length B; its attributes are (B,V), or (B,F,V) to tell each frame its own.
            after_block: called after every spatial block; what it returns goes on in the block's place.

        Returns:
            A tensor like x, but of `out_channels`.

        Raises:
            ValueError: the shapes do not fit the configuration or each other.
        """
        self._check(x, t, condition)
        embedding = self.embedding(t, condition.tokens, condition.mask, condition.attributes)
        frames = x.shape[0] // t.shape[0]
        if embedding.ndim == 3:
            embedding = embedding.flatten(0, 1)
        elif frames > 1:
            embedding = embedding.repeat_interleave(frames, dim=0)
        context, mask = self.context_norm(condition.tokens), condition.mask
        index = 0

        def run(block: nn.Module, h: Tensor) -> Tensor:
            nonlocal index
            h = block(h, embedding, context, mask)
            if after_block is not None:
                h = after_block(index, h, embedding)
            index += 1
            return h

        h = self.stem(F.pixel_unshuffle(x, self.config.patch))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            if level > 0:
                h = self.downsample[level - 1](h)
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                h = run(block, h)
                skips.append(h)
        h = run(self.middle, h)
        for level, blocks in reversed(list(enumerate(self.up))):
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                h = run(block, torch.cat([h, skips.pop()], dim=1))
            if level > 0:
                h = self.upsample[level - 1](h)
        return F.pixel_shuffle(self.out(F.silu(self.out_norm(h))), self.config.patch)

    def _check(self, x: Tensor, t: Tensor, condition: Condition) -> None:
        config, batch = self.config, t.shape[0]
        if x.ndim != 4 or x.shape[1] != config.in_channels:
            raise ValueError(f"images must be (B,{config.in_channels},H,W), not {tuple(x.shape)}")
        if x.shape[2] % config.stride or x.shape[3] % config.stride:
            raise ValueError(f"image sides must be multiples of {config.stride}, not {tuple(x.shape[2:])}")
        if t.ndim != 1 or x.shape[0] % batch or condition.tokens.shape[0] != batch:
            raise ValueError(
                f"{x.shape[0]} images, timesteps {tuple(t.shape)}, {condition.tokens.shape[0]} conditions: "
                "these must agree"
            )
        attributes, frames = condition.attributes, x.shape[0] // batch
        if attributes.ndim == 3 and attributes.shape[1] != frames:
            raise ValueError(f"attributes for {attributes.shape[1]} frames, {frames} frames given")
        given = condition.tokens.shape[2], attributes.shape[-1]
        if given != (config.context_width, config.attribute_width):
            raise ValueError(
                f"tokens and attributes are {given[0]} and {given[1]} wide; this network reads "
                f"{config.context_width} and {config.attribute_width}"
            )
