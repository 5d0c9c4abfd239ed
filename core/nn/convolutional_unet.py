"""Convolutional U-Net without attention, text or normalization, for the cascade's later stages.

These stages correct pictures that are right already, so that they need no view of the entire picture.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.blocks import Downsample, Upsample, convolution, zero_init
from core.nn.embeddings import timestep_embedding


class ModulatedResidual(nn.Module):
    """Residual block x + conv(SiLU(conv(SiLU(x)) (1 + scale) + shift)), scale and shift from an embedding.

    It has no normalization layers, as in EDSR (Lim et al. 2017, "Enhanced Deep Residual Networks for Single
    Image Super-Resolution", section 3.1): a crop then gives the same pixels as the entire image.

    axes: trailing axes of the input, 2 for images. kernel: size of the convolutions, odd.
    """

    def __init__(self, width: int, embedding_width: int, axes: int = 2, kernel: int = 3) -> None:
        super().__init__()
        conv = convolution(axes)
        self.first = conv(width, width, kernel, padding=kernel // 2)
        self.modulation = zero_init(nn.Linear(embedding_width, 2 * width))
        self.second = zero_init(conv(width, width, kernel, padding=kernel // 2))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: (B,C,...); embedding: (B,E). Returns a tensor shaped like x."""
        modulation = self.modulation(embedding).unflatten(1, (-1, *[1] * (x.ndim - 2)))
        scale, shift = modulation.chunk(2, dim=1)
        h = self.first(F.silu(x)) * (1 + scale) + shift
        return x + self.second(F.silu(h))


class ConvolutionalUNet(nn.Module):
    """U-Net of modulated residual blocks, with additive skip connections.

    The output layer is initialized to zero, so that a new network returns zeros.
    """

    def __init__(
        self, in_channels: int, out_channels: int, widths: Sequence[int], blocks: Sequence[int]
    ) -> None:
        """widths, blocks: channels, and residual blocks in each direction, one entry per level."""
        super().__init__()
        self.time_width, embedding_width = widths[0], 4 * widths[0]
        self.embedding = nn.Sequential(
            nn.Linear(2 * self.time_width, embedding_width),
            nn.SiLU(),
            nn.Linear(embedding_width, embedding_width),
            nn.SiLU(),
        )
        levels = [
            nn.ModuleList(ModulatedResidual(width, embedding_width) for _ in range(count))
            for _ in range(2)
            for width, count in zip(widths, blocks, strict=True)
        ]
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(levels[: len(widths)])
        self.up = nn.ModuleList(levels[len(widths) : -1])
        self.downsample = nn.ModuleList(Downsample(fine, coarse) for fine, coarse in pairwise(widths))
        self.upsample = nn.ModuleList(Upsample(coarse, fine) for fine, coarse in pairwise(widths))
        self.out = zero_init(nn.Conv2d(widths[0], out_channels, 3, padding=1))

    @property
    def stride(self) -> int:
        """Height and width must be multiples of this."""
        return 2 ** len(self.downsample)

    def forward(self, x: Tensor, t: Tensor, level: Tensor) -> Tensor:
        """The output (B,out_channels,H,W).

        Args:
            x: (B,in_channels,H,W).
            t: (B,) timesteps, integer or fractional.
            level: (B,) in [0, 1), a second number to condition on: the noise level of a condition in x.

        Raises:
            ValueError: a side is not a multiple of the network's stride.
        """
        if x.shape[2] % self.stride or x.shape[3] % self.stride:
            raise ValueError(f"sides must be multiples of {self.stride}, not {tuple(x.shape[2:])}")
        numbers = (timestep_embedding(number, self.time_width) for number in (t, 1000 * level))
        embedding = self.embedding(torch.cat(list(numbers), dim=1))
        h = self.stem(x)
        skips: list[Tensor] = []
        for number, blocks in enumerate(self.down):
            if number > 0:
                skips.append(h)
                h = self.downsample[number - 1](h)
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                h = block(h, embedding)
        for number, blocks in reversed(list(enumerate(self.up))):
            h = skips.pop() + self.upsample[number](h)
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                h = block(h, embedding)
        return self.out(F.silu(h))
