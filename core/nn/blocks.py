"""Blocks of the U-Net: adaptive norms, residual, ConvNeXt and transformer blocks, resampling layers.

Norms and attention take any number of trailing axes. Blocks with convolutions are those of images (B,C,H,W)
unless they are made for another number of axes, such as 1 for sequences (B,C,L).
"""

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.attention import MultiHeadAttention

TensorMap = Callable[[Tensor], Tensor]
Layer = TypeVar("Layer", bound=nn.Module)

GROUP_WIDTH = 8  # channels of a normalization group; 32 groups at width 256


def group_norm(width: int) -> nn.GroupNorm:
    """Group normalization (Wu and He 2018) over groups of eight channels."""
    return nn.GroupNorm(width // GROUP_WIDTH, width)


def check_group_widths(widths: tuple[int, ...]) -> tuple[int, ...]:
    """The widths, validated: raises ValueError unless each can be normalized by `group_norm`."""
    if min(widths) < 1 or any(width % GROUP_WIDTH for width in widths):
        raise ValueError(f"widths must be multiples of {GROUP_WIDTH}")
    return widths


def zero_init(layer: Layer) -> Layer:
    """The layer with all parameters set to zero: a residual branch that ends in it initially adds zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def convolution(axes: int) -> type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]:
    """The convolution over so many trailing axes. Raises ValueError unless they are 1, 2 or 3."""
    if axes not in (1, 2, 3):
        raise ValueError(f"convolutions are over 1, 2 or 3 axes, not {axes}")
    return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]


class AdaptiveGroupNorm(nn.Module):
    """Adaptive group norm: GroupNorm(x) (1 + scale) + shift.

    Scale and shift are predicted from an embedding. Dhariwal and Nichol 2021, "Diffusion Models Beat GANs on
    Image Synthesis", section 3.1 (AdaGN).
    """

    def __init__(self, width: int, embedding_width: int, activation: TensorMap = F.silu):
        super().__init__()
        self.norm = group_norm(width)
        self.modulation = nn.Linear(embedding_width, 2 * width)
        self.activation = activation

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: (B,C,...); embedding: (B,E). Returns a tensor shaped like x."""
        modulation = self.modulation(self.activation(embedding)).unflatten(1, (-1, *[1] * (x.ndim - 2)))
        scale, shift = modulation.chunk(2, dim=1)
        return self.norm(x) * (1 + scale) + shift


class AddedGroupNorm(nn.Module):
    """Group norm of a sum: GroupNorm(x + shift), the shift predicted from an embedding.

    What DDPM does, and table 3 of Dhariwal and Nichol 2021 compares with `AdaptiveGroupNorm`.
    """

    def __init__(self, width: int, embedding_width: int, activation: TensorMap = F.silu):
        super().__init__()
        self.norm = group_norm(width)
        self.shift = nn.Linear(embedding_width, width)
        self.activation = activation

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: (B,C,...); embedding: (B,E). Returns a tensor shaped like x."""
        shift = self.shift(self.activation(embedding))
        return self.norm(x + shift.unflatten(1, (-1, *[1] * (x.ndim - 2))))


class AdaptiveLayerNorm(nn.Module):
    """Adaptive layer norm: LayerNorm(x) (1 + scale) + shift over the channels of each position.

    Scale and shift are predicted from an embedding. AdaLN of Peebles and Xie 2023, "Scalable Diffusion Models
    with Transformers", section 3.2.
    """

    def __init__(self, width: int, embedding_width: int, activation: TensorMap = F.silu):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(embedding_width, 2 * width)
        self.activation = activation

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: (B,...,C), channels last; embedding: (B,E). Returns a tensor shaped like x."""
        modulation = self.modulation(self.activation(embedding)).unflatten(1, (*[1] * (x.ndim - 2), -1))
        scale, shift = modulation.chunk(2, dim=-1)
        return self.norm(x) * (1 + scale) + shift


def downsample_2x(x: Tensor) -> Tensor:
    """Average pooling of 2x2 squares: (B,C,H,W) -> (B,C,H/2,W/2)."""
    return F.avg_pool2d(x, 2)


def upsample_2x(x: Tensor) -> Tensor:
    """Nearest-neighbor upsampling by 2: (B,C,H,W) -> (B,C,2H,2W)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class ResidualBlock(nn.Module):
    """Residual block: norm, SiLU, conv, AdaGN, SiLU, dropout, conv, added to the input.

    The last convolution is initialized to zero. Dhariwal and Nichol 2021, section 3.

    activation: in place of SiLU.
    resample: `downsample_2x` or `upsample_2x`, for the block of BigGAN (Brock et al. 2019, figure 15; Song et
        al. 2021). It resamples both branches, the inner one between its first activation and convolution.
    axes: trailing axes of the input, 2 for images.
    norm: between the convolutions; it reads the embedding.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        embedding_width: int,
        dropout: float = 0.0,
        activation: TensorMap = F.silu,
        resample: TensorMap | None = None,
        axes: int = 2,
        norm: type[AdaptiveGroupNorm] | type[AddedGroupNorm] = AdaptiveGroupNorm,
    ):
        super().__init__()
        self.in_norm = group_norm(in_width)
        conv = convolution(axes)
        self.in_conv = conv(in_width, width, 3, padding=1)
        self.out_norm = norm(width, embedding_width, activation)
        self.dropout = nn.Dropout(dropout)
        self.out_conv = zero_init(conv(width, width, 3, padding=1))
        self.skip = nn.Identity() if in_width == width else conv(in_width, width, 1)
        self.activation = activation
        self.resample = resample

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: (B,in_width,...); embedding: (B,E). Returns (B,width,...), resampled where that is asked for."""
        h = self.activation(self.in_norm(x))
        if self.resample is not None:
            x, h = self.resample(x), self.resample(h)
        h = self.out_norm(self.in_conv(h), embedding)
        return self.skip(x) + self.out_conv(self.dropout(self.activation(h)))


class ConvNeXtBlock(nn.Module):
    """ConvNeXt block with an adaptive layer norm, residual.

    Its layers are a depthwise convolution of size 7, AdaLN, a pointwise layer to four times the width, GELU,
    dropout and a pointwise layer back. Liu et al. 2022, "A ConvNet for the 2020s", section 2.6.

    layer_scale: initial value of the gain of each channel of the inner branch (Touvron et al. 2021, "Going
        Deeper with Image Transformers"; 1e-6 in ConvNeXt). With None there is no gain, and the last layer is
        initialized to zero.
    axes: trailing axes of the input, 2 for images.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        embedding_width: int,
        dropout: float = 0.0,
        activation: TensorMap = F.silu,
        layer_scale: float | None = None,
        axes: int = 2,
    ):
        """activation: for the embedding; the one between the pointwise layers is always GELU."""
        super().__init__()
        conv = convolution(axes)
        self.skip = nn.Identity() if in_width == width else conv(in_width, width, 1)
        self.depthwise = conv(width, width, 7, padding=3, groups=width)
        self.norm = AdaptiveLayerNorm(width, embedding_width, activation)
        self.expand = nn.Linear(width, 4 * width)
        self.dropout = nn.Dropout(dropout)
        self.contract = nn.Linear(4 * width, width)
        self.gain = None if layer_scale is None else nn.Parameter(torch.full((width,), layer_scale))
        if self.gain is None:
            zero_init(self.contract)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: (B,in_width,...); embedding: (B,E). Returns (B,width,...)."""
        x = self.skip(x)
        h = self.norm(self.depthwise(x).movedim(1, -1), embedding)
        h = self.contract(self.dropout(F.gelu(self.expand(h))))
        if self.gain is not None:
            h = self.gain * h
        return x + h.movedim(-1, 1)


class FeedForward(nn.Module):
    """GEGLU feed-forward layer, out(value * GELU(gate)): Shazeer 2020, "GLU Variants Improve Transformer"."""

    def __init__(self, width: int, hidden_width: int):
        super().__init__()
        self.hidden = nn.Linear(width, 2 * hidden_width)
        self.out = nn.Linear(hidden_width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (...,width). Returns a tensor shaped like x."""
        value, gate = self.hidden(x).chunk(2, dim=-1)
        return self.out(value * F.gelu(gate))


class TransformerBlock(nn.Module):
    """Transformer block: self-attention over positions, cross-attention to text, feed-forward.

    Each of the three is pre-norm and residual. Rombach et al. 2022, "High-Resolution Image Synthesis with
    Latent Diffusion Models", section 3.3, without the convolutions around the block. Instead, every branch
    ends in a zero-initialized layer.
    """

    def __init__(self, width: int, head_width: int, context_width: int, feed_forward: int):
        super().__init__()
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = MultiHeadAttention(width, head_width)
        self.cross_norm = nn.LayerNorm(width)
        self.cross_attention = MultiHeadAttention(width, head_width, context_width)
        self.feed_norm = nn.LayerNorm(width) if feed_forward else None
        self.feed_forward = FeedForward(width, feed_forward * width) if feed_forward else None

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """The block's output, shaped like x.

        x: (B*n,C,H,W), where n consecutive rows share one context; context: (B,L,D); mask: (B,L) bool.
        """
        h = x.flatten(2).transpose(1, 2)
        h = h + self.self_attention(self.self_norm(h))
        h = h + self.cross_attention(self.cross_norm(h), context, mask=mask)
        if self.feed_norm is not None and self.feed_forward is not None:
            h = h + self.feed_forward(self.feed_norm(h))
        return h.transpose(1, 2).unflatten(2, x.shape[2:])


class SelfAttentionBlock(nn.Module):
    """Residual pre-norm self-attention over positions, without text (Dhariwal and Nichol 2021)."""

    def __init__(self, width: int, head_width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, head_width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B,C,H,W). Returns a tensor shaped like x."""
        h = x.flatten(2).transpose(1, 2)
        h = h + self.attention(self.norm(h))
        return h.transpose(1, 2).unflatten(2, x.shape[2:])


class SpatialBlock(nn.Module):
    """A residual or ConvNeXt block, followed by a transformer block where one is given."""

    def __init__(self, residual: ResidualBlock | ConvNeXtBlock, transformer: TransformerBlock | None):
        super().__init__()
        self.residual = residual
        self.transformer = transformer

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """x: (B*n,C,H,W); embedding: (B*n,E); context: (B,L,D); mask: (B,L) bool. Returns (B*n,C',H,W)."""
        h = self.residual(x, embedding)
        return h if self.transformer is None else self.transformer(h, context, mask)


class Downsample(nn.Conv2d):
    """Downsampling by a strided 3x3 convolution: (B,C,H,W) -> (B,C',H/2,W/2)."""

    def __init__(self, in_width: int, width: int):
        super().__init__(in_width, width, 3, stride=2, padding=1)


class Upsample(nn.Conv2d):
    """Upsampling by a 1x1 convolution and depth to space: (B,C,H,W) -> (B,C',2H,2W).

    The sub-pixel convolution of Shi et al. 2016. The papers use nearest-neighbor upsampling and a 3x3
    convolution, which would be a fifth of a small network's arithmetic. The residual block after this layer
    makes that convolution unnecessary.
    """

    def __init__(self, in_width: int, width: int):
        super().__init__(in_width, 4 * width, 1)

    def forward(self, input: Tensor) -> Tensor:
        """input: (B,C,H,W). Returns (B,C',2H,2W)."""
        return F.pixel_shuffle(super().forward(input), 2)
