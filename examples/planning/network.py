"""The temporal U-Net of Diffuser, and what it is conditioned on: the known entries of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.condition import Condition, no_condition
from core.nn.blocks import zero_init
from core.nn.convolutional_unet import ModulatedResidual
from core.nn.embeddings import timestep_embedding

KERNEL = 5


def known_entries(values: Tensor, mask: Tensor) -> Condition:
    """The condition that some entries of a trajectory are known, such as its start and its goal.

    values: (B,C,L), of which only the known entries are read; mask: (B,C,L) bool, True where known. Both are
    attributes (B,L,2C) of each step.
    """
    attributes = torch.cat([values.masked_fill(~mask, 0.0), mask.to(values.dtype)], dim=1)
    return replace(no_condition(len(values), values.device), attributes=attributes.transpose(1, 2))


def read_known_entries(condition: Condition) -> tuple[Tensor, Tensor]:
    """The values and the mask of `known_entries`, each (B,C,L)."""
    values, mask = condition.attributes.transpose(1, 2).chunk(2, dim=1)
    return values, mask > 0.5


class TemporalUNet(nn.Module):
    """U-Net of one dimension, over time, that predicts trajectories (B,C,L) of any length.

    Janner et al. 2022, "Planning with Diffusion for Flexible Behavior Synthesis", section 3 and appendix C:
    convolutions of size 5 alone, so that a step sees only the steps around it, and a plan may be longer than
    any trajectory of the data. Its blocks have no group norms, unlike the paper's: these average over all
    steps, so that every step would change with the length of the plan. Skip connections are additive.

    It reads the known entries clean, whatever the noise. The output layer is initialized to zero.
    """

    def __init__(self, channels: int, widths: Sequence[int], blocks: int, ends: bool = False) -> None:
        """widths: channels of each level, from fine to coarse; blocks: of each level, in each direction.

        ends: every step reads what is known of the first and of the last one, in channels of its own. Plans
        of what stays where it is need not carry it from step to step then, and are no longer local.
        """
        super().__init__()
        embedding_width = 2 * widths[0]

        def level(width: int) -> nn.ModuleList:
            return nn.ModuleList(
                ModulatedResidual(width, embedding_width, axes=1, kernel=KERNEL) for _ in range(blocks)
            )

        self.time_width = widths[0]
        self.embedding = nn.Sequential(
            nn.Linear(widths[0], embedding_width),
            nn.SiLU(),
            nn.Linear(embedding_width, embedding_width),
            nn.SiLU(),
        )
        self.ends = ends
        self.stem = nn.Conv1d((6 if ends else 2) * channels, widths[0], KERNEL, padding=KERNEL // 2)
        self.down = nn.ModuleList(level(width) for width in widths)
        self.downsample = nn.ModuleList(
            nn.Conv1d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairwise(widths)
        )
        self.up = nn.ModuleList(level(width) for width in widths)
        self.upsample = nn.ModuleList(
            nn.ConvTranspose1d(coarse, fine, 4, stride=2, padding=1) for fine, coarse in pairwise(widths)
        )
        self.out = zero_init(nn.Conv1d(widths[0], channels, 1))

    @property
    def stride(self) -> int:
        """The length of a trajectory must be a multiple of this."""
        return 2 ** len(self.downsample)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The output (B,C,L).

        x: (B,C,L) noised to t (B,); condition: of `known_entries`.

        Raises ValueError when the length is not a multiple of the stride, or the condition has another one.
        """
        values, mask = read_known_entries(condition)
        if x.shape[2] % self.stride or mask.shape != x.shape:
            raise ValueError(
                f"trajectories {tuple(x.shape)} and known entries {tuple(mask.shape)}: both must be (B,C,L), "
                f"L a multiple of {self.stride}"
            )
        embedding = self.embedding(timestep_embedding(t, self.time_width))
        known = torch.cat([values, mask.to(x.dtype)], dim=1)
        inputs = [torch.where(mask, values, x), mask.to(x.dtype)]
        if self.ends:
            inputs += [known[..., [end]].expand_as(known) for end in (0, -1)]
        h = self.stem(torch.cat(inputs, dim=1))
        skips: list[Tensor] = []
        for number, blocks in enumerate(self.down):
            h = h if number == 0 else self.downsample[number - 1](h)
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                h = block(h, embedding)
            skips.append(h)
        for number, blocks in reversed(list(enumerate(self.up))):
            h = h if number == len(self.up) - 1 else self.upsample[number](h)
            h = h + skips[number]
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                h = block(h, embedding)
        return self.out(F.silu(h))
