"""Temporal layers, which mix the frames of a clip: convolution, attention, relative positions.

All work on frames folded into the batch, (B*F,C,H,W) with the F frames of a clip in turn; the residual ones
add the output of a projection that starts at zero. Normalization is over one frame at a time, so that its
statistics do not depend on the number of frames.
"""

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.nn.attention import MultiHeadAttention
from core.nn.blocks import GROUP_WIDTH, AdaptiveGroupNorm, group_norm, zero_init


class TemporalConfig(BaseModel):
    """Sizes of the temporal layers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ratio: float = Field(
        default=0.5, gt=0.0, le=4.0, description="inner width over the spatial block's width"
    )
    head_width: int = Field(default=32, multiple_of=GROUP_WIDTH, gt=0)
    max_offset: int = Field(default=31, ge=1, description="frames further apart share one relative position")

    def inner_width(self, width: int) -> int:
        """The inner width of layers after a block of `width` channels: a multiple of the head width."""
        return max(1, int(self.ratio * width) // self.head_width) * self.head_width


class RelativePositionBias(nn.Module):
    """A learned logit for every head and offset between two frames; offsets beyond +-max_offset share one.

    Shaw et al. 2018, "Self-Attention with Relative Position Representations" (clipped offsets), as a scalar
    bias as in Raffel et al. 2020 (T5) and, over frames, Ho et al. 2022, "Video Diffusion Models", section 3.
    Works for any number of frames.
    """

    def __init__(self, heads: int, max_offset: int):
        super().__init__()
        self.max_offset = max_offset
        self.table = nn.Parameter(torch.zeros(heads, 2 * max_offset + 1))

    def forward(self, frames: int) -> Tensor:
        """(heads, frames, frames): entry (h, i, j) is added to the logit of query frame i and key frame j."""
        position = torch.arange(frames, device=self.table.device)
        offset = (position[None, :] - position[:, None]).clamp(-self.max_offset, self.max_offset)
        return self.table[:, offset + self.max_offset]


class TemporalConvolution(nn.Module):
    """Convolution of kernel 3 over frames, per position; the ends repeat the first and last frame.

    A Conv3d of kernel (3,1,1) with replicate padding, as one matrix product over three neighboring frames.
    """

    def __init__(self, width: int):
        super().__init__()
        self.neighbors = nn.Conv2d(
            3 * width, width, 1
        )  # channels: the frame before, the frame, the frame after

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """x: (B*frames,C,H,W). Returns a tensor like x."""
        clip = x.unflatten(0, (-1, frames))
        before = torch.cat([clip[:, :1], clip[:, :-1]], dim=1)
        after = torch.cat([clip[:, 1:], clip[:, -1:]], dim=1)
        return self.neighbors(torch.cat([before, clip, after], dim=2).flatten(0, 1))


class TemporalConvBlock(nn.Module):
    """A residual bottleneck around a temporal convolution: norm, SiLU, 1x1, convolution, AdaGN, SiLU, 1x1.

    The adaptive norm lets the mixing of frames follow the noise level.
    """

    def __init__(self, width: int, inner_width: int, embedding_width: int):
        super().__init__()
        self.in_norm = group_norm(width)
        self.reduce = nn.Conv2d(width, inner_width, 1)
        self.convolution = TemporalConvolution(inner_width)
        self.out_norm = AdaptiveGroupNorm(inner_width, embedding_width)
        self.expand = zero_init(nn.Conv2d(inner_width, width, 1))

    def forward(self, x: Tensor, embedding: Tensor, frames: int) -> Tensor:
        """x: (B*frames,C,H,W); embedding: (B*frames,E). Returns a tensor like x."""
        # Behind frozen layers x needs no gradient. On CPUs the backward pass of GroupNorm then crashes in
        # PyTorch 2.13 if x is channels-last.
        normed = self.in_norm(x.contiguous() if torch.is_grad_enabled() and not x.requires_grad else x)
        h = self.convolution(self.reduce(F.silu(normed)), frames)
        return x + self.expand(F.silu(self.out_norm(h, embedding)))


class TemporalAttention(nn.Module):
    """Residual self-attention over the frames of a clip, per position, with relative positions.

    Ho et al. 2022, "Video Diffusion Models", section 3.
    """

    def __init__(self, width: int, inner_width: int, head_width: int, max_offset: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, head_width, inner_width=inner_width)
        self.position = RelativePositionBias(inner_width // head_width, max_offset)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """x: (B*frames,C,H,W). Returns a tensor like x."""
        # Channels move last and back within a frame, and frames move as whole rows of channels: both at once
        # copy the tensor several times slower.
        clips = self.norm(x.permute(0, 2, 3, 1)).unflatten(0, (-1, frames))  # (B, frames, H, W, C)
        height, width = clips.shape[2:4]
        sequences = clips.permute(0, 2, 3, 1, 4).flatten(0, 2)  # (B*H*W, frames, C)
        h = self.attention(sequences, bias=self.position(frames)).unflatten(0, (-1, height, width))
        return x + h.permute(0, 3, 1, 2, 4).flatten(0, 1).permute(0, 3, 1, 2)


class TemporalBlock(nn.Module):
    """Temporal layers after one spatial block of the image network; the identity at initialization."""

    def __init__(self, width: int, embedding_width: int, config: TemporalConfig):
        super().__init__()
        inner_width = config.inner_width(width)
        self.convolution = TemporalConvBlock(width, inner_width, embedding_width)
        self.attention = TemporalAttention(width, inner_width, config.head_width, config.max_offset)

    def forward(self, x: Tensor, embedding: Tensor, frames: int, images: int = 0) -> Tensor:
        """x: (B*(frames+images),C,H,W); embedding: (B*(frames+images),E). Returns a tensor like x.

        images: number of independent images after the frames of each clip. Attention is masked so that each
            image sees only itself, and the frames only each other. Ho et al. 2022, section 3, keep the
            attention layer for images and fix its matrix to the identity, so that they train its projections
            too. Attention over a single frame has that matrix, and the convolution repeats a single frame on
            both sides: an image passes as a clip of one frame.
        """
        if not images:
            return self.attention(self.convolution(x, embedding, frames), frames)
        x, embedding = (each.unflatten(0, (-1, frames + images)) for each in (x, embedding))
        clips, singles = (
            self(x[:, part].flatten(0, 1), embedding[:, part].flatten(0, 1), length)
            for part, length in ((slice(frames), frames), (slice(frames, None), 1))
        )
        joined = clips.unflatten(0, (-1, frames)), singles.unflatten(0, (-1, images))
        return torch.cat(joined, dim=1).flatten(0, 1)
