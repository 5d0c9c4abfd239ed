"""Clips longer than a network's limit, and clips without ends: windows of frames, averaged."""

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
            out = self.network(clip[:, :, window], t, condition_of_frames(condition, window))
            total[:, :, window] += weight * out
            weights[window] += weight
        return total / weights


class CircularWindows(nn.Module):
    """A network for clips whose last frame is followed by the first, from one for clips with two ends.

    The clip is a circle, seen in windows of `size` frames that share at least `overlap` and are averaged as
    in `OverlappingWindows`; a clip of up to `size` frames is one window. The first window starts at another
    frame at every noise level, so that no pair of frames remains at the ends of a window: the latent shift of
    Bi et al. 2025, "Mobius: Text to Seamless Looping Video Generation via Latent Shift".

    Raises ValueError unless 0 <= overlap < size.
    """

    def __init__(self, network: nn.Module, size: int, overlap: int) -> None:
        super().__init__()
        if not 0 <= overlap < size:
            raise ValueError(f"windows need 0 <= overlap < size, not overlap {overlap}, size {size}")
        self.network = network
        self.size, self.overlap = size, overlap

    def forward(self, clip: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """clip: (B,C,F,H,W), any F >= 1; t: (B,), all alike; attributes of the condition as for windows."""
        frames = clip.shape[2]
        size = min(self.size, frames)
        count = 1 if frames <= self.size else math.ceil(frames / (self.size - self.overlap))
        inside = torch.arange(1, size + 1, dtype=clip.dtype, device=clip.device)
        weight = torch.minimum(inside, inside.flip(0)).view(-1, 1, 1)
        total, weights = torch.zeros_like(clip), clip.new_zeros(frames, 1, 1)
        shift = first_frame(t, frames)
        for start in (shift + round(i * frames / count) for i in range(count)):
            window = torch.arange(start, start + size, device=clip.device) % frames
            out = self.network(clip[:, :, window], t, condition_of_frames(condition, window))
            total[:, :, window] += weight * out
            weights[window] += weight
        return total / weights


def first_frame(t: Tensor, frames: int) -> int:
    """The frame at which the first window of a circle starts at timestep t (B,), all alike.

    Multiples of the golden ratio, which fill the circle evenly however many timesteps are visited.
    """
    return int(frames * (float(t[0]) * (math.sqrt(5) - 1) / 2 % 1))


def window_starts(frames: int, size: int, overlap: int) -> list[int]:
    """The first frames of as few windows as cover all frames with that overlap; frames > size."""
    count = math.ceil((frames - overlap) / (size - overlap))
    return [round(i * (frames - size) / (count - 1)) for i in range(count)]


def condition_of_frames(condition: Condition, window: slice | Tensor) -> Condition:
    """The condition of some frames of a clip, by slice or indices."""
    if condition.attributes.ndim == 2:
        return condition
    return replace(condition, attributes=condition.attributes[:, window])
