"""Temporal layers of AnimateDiff, with the weight names of diffusers' `MotionAdapter`.

Guo et al. 2023, "AnimateDiff: Animate Your Personalized Text-to-Image Diffusion Models without Specific
Tuning", section 4.2: a small transformer along time follows each block of the image U-Net and is applied to
each spatial position independently.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.attention import scaled_dot_product
from video.animatediff.motion_format import MotionConfig


class PositionalEncoding(nn.Module):
    """Sinusoidal positions (Vaswani et al. 2017, section 3.5), stored as a table (1,frames,width)."""

    pe: Tensor

    def __init__(self, width: int, frames: int) -> None:
        """frames: number of positions."""
        super().__init__()
        rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        angle = torch.arange(frames)[:, None] * rate
        self.register_buffer("pe", torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[None])

    def forward(self, x: Tensor) -> Tensor:
        """x (N,F,width) plus the positions 0 to F - 1."""
        return x + self.pe[:, : x.shape[1]]


class TemporalSelfAttention(nn.Module):
    """Self-attention over the frames of one spatial position."""

    def __init__(self, width: int, heads: int) -> None:
        """heads: number of heads, each of width / heads channels."""
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Output (N,F,width) for x (N,F,width)."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        return self.to_out(scaled_dot_product(q, k, v).transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    """GEGLU (Shazeer 2020, "GLU Variants Improve Transformer", equation 6)."""

    def __init__(self, width: int, inner_width: int) -> None:
        """inner_width: width of the output."""
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner_width)

    def forward(self, x: Tensor) -> Tensor:
        """Output (...,inner_width) for x (...,width)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class MotionFeedForward(nn.Module):
    """Feed-forward layer with GEGLU and an inner width of four times the width."""

    def __init__(self, width: int) -> None:
        """width: width of input and output."""
        super().__init__()
        # The identity stands for a dropout of rate 0 in the published layers, so that the names agree.
        self.net = nn.Sequential(GEGLU(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Output (...,width) for x (...,width)."""
        return self.net(x)


class TemporalTransformerBlock(nn.Module):
    """Two temporal self-attentions, each with positional encoding, and a feed-forward layer; all residual."""

    def __init__(self, width: int, heads: int, frames: int) -> None:
        """frames: number of positions."""
        super().__init__()
        self.pos_embed = PositionalEncoding(width, frames)
        self.norm1, self.attn1 = nn.LayerNorm(width), TemporalSelfAttention(width, heads)
        self.norm2, self.attn2 = nn.LayerNorm(width), TemporalSelfAttention(width, heads)
        self.norm3, self.ff = nn.LayerNorm(width), MotionFeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        """Output (N,F,width) for x (N,F,width)."""
        x = x + self.attn1(self.pos_embed(self.norm1(x)))
        x = x + self.attn2(self.pos_embed(self.norm2(x)))
        return x + self.ff(self.norm3(x))


class MotionModule(nn.Module):
    """Temporal transformer after a block of the image U-Net, residual.

    It is initialized as the identity: `proj_out` starts at zero, as in AnimateDiff's training (section 4.2).
    In a new `MotionAdapter` of diffusers it does not.

    The group norm computes its statistics over all frames, as in diffusers. AnimateDiff's own code computes
    them per frame, with the same weights.
    """

    def __init__(self, width: int, heads: int, groups: int, layers: int, frames: int) -> None:
        """width: channels. groups: of the group norm. layers: transformer blocks. frames: positions."""
        super().__init__()
        self.frames = frames
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.Sequential(
            *[TemporalTransformerBlock(width, heads, frames) for _ in range(layers)]
        )
        self.proj_out = nn.Linear(width, width)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """Output (B*frames,C,H,W) for x (B*frames,C,H,W).

        Raises ValueError when there are more frames than positions.
        """
        if frames > self.frames:
            raise ValueError(f"this motion adapter takes at most {self.frames} frames per call, not {frames}")
        height, width = x.shape[2:]
        h = self.norm(x.unflatten(0, (-1, frames)).transpose(1, 2))
        h = self.proj_in(h.permute(0, 3, 4, 2, 1).flatten(0, 2))  # (B*H*W, frames, C)
        h = self.proj_out(self.transformer_blocks(h))
        return x + h.unflatten(0, (-1, height, width)).permute(0, 3, 4, 1, 2).flatten(0, 1)


class MotionModules(nn.Module):
    """Motion modules of one level of the U-Net."""

    def __init__(self, count: int, *, width: int, heads: int, groups: int, layers: int, frames: int) -> None:
        """count: number of modules. The rest is as in `MotionModule`."""
        super().__init__()
        self.motion_modules = nn.ModuleList(
            MotionModule(width, heads, groups, layers, frames) for _ in range(count)
        )


class MotionLayers(nn.Module):
    """All temporal layers of a U-Net; weights have the names of diffusers' `MotionAdapter`."""

    def __init__(self, config: MotionConfig) -> None:
        """Raises UserError when a field of the config has not one value per level."""
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        counts = config.per_level("motion_layers_per_block")
        layers = config.per_level("motion_transformer_layers_per_block")
        heads = config.per_level("motion_num_attention_heads")

        def level(i: int, count: int, layers: int) -> MotionModules:
            return MotionModules(
                count,
                width=widths[i],
                heads=heads[i],
                groups=config.motion_norm_num_groups,
                layers=layers,
                frames=config.motion_max_seq_length,
            )

        levels = range(len(widths))
        self.down_blocks = nn.ModuleList(level(i, counts[i], layers[i]) for i in levels)
        self.up_blocks = nn.ModuleList(level(i, counts[i] + 1, layers[i]) for i in reversed(levels))
        self.mid_block = None
        if config.use_motion_mid_block:
            self.mid_block = level(
                -1, config.motion_mid_block_layers_per_block, config.motion_transformer_layers_per_mid_block
            )
