"""Clips longer than a network's limit: overlapping windows of frames, averaged."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from core.condition import Condition


class OverlappingWindows(nn.Module):
    """A network for clips of any length, from one for short clips.

    Where a clip has more than `limit` frames, the network sees windows of `size` frames, spread evenly so
    that neighbors share at least `overlap`. What it says of a frame in several windows is averaged, weighted
    by how deep inside each the frame lies: Bar-Tal et al. 2023, "MultiDiffusion", equation 5, along time as
    in Wang et al. 2023, "Gen-L-Video". Every frame keeps noise of its own; what ties distant frames together
    is the overlap, step after step.

    Windows are evaluated one after another, with the memory of one.

    Raises ValueError unless 0 <= overlap < size <= limit.
    """

    def __init__(self, network: nn.Module, limit: int, size: int, overlap: int) -> None:
        super().__init__()
        if not 0 <= overlap < size <= limit:
            given = f"overlap {overlap}, size {size}, limit {limit}"
            raise ValueError(f"windows need 0 <= overlap < size <= limit, not {given}")
        self.network = network
        self.limit, self.size, self.overlap = limit, size, overlap

    def forward(self, clip: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """clip: (B,C,F,H,W), any F >= 1; the attributes of the condition are (B,V), or (B,F,V) by frame."""
        frames = clip.shape[2]
        if frames <= self.limit:
            return self.network(clip, t, condition)
        inside = torch.arange(1, self.size + 1, dtype=clip.dtype, device=clip.device)
        weight = torch.minimum(inside, inside.flip(0)).view(-1, 1, 1)
        total, weights = torch.zeros_like(clip), clip.new_zeros(frames, 1, 1)
        for start in window_starts(frames, self.size, self.overlap):
            window = slice(start, start + self.size)
            total[:, :, window] += weight * self.network(clip[:, :, window], t, _of_frames(condition, window))
            weights[window] += weight
        return total / weights


def window_starts(frames: int, size: int, overlap: int) -> list[int]:
    """The first frames of as few windows as cover all frames with that overlap; frames > size."""
    count = math.ceil((frames - overlap) / (size - overlap))
    return [round(i * (frames - size) / (count - 1)) for i in range(count)]


def _of_frames(condition: Condition, window: slice) -> Condition:
    if condition.attributes.ndim == 2:
        return condition
    return replace(condition, attributes=condition.attributes[:, window])
