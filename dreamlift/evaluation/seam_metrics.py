"""Metrics of clips made in parts: jumps where two parts meet, and changes from one loop to the next."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dreamlift.evaluation.video_metrics import LEVELS


def seam(clip: Tensor, borders: Sequence[int], reach: int = 2) -> Tensor:
    """Mean frame difference at borders over the mean frame difference near them, (B,).

    1 where a border cannot be told from the frames around it; larger where the clip jumps there. The frames
    near a border move as fast as it would without a jump, also where the speed changes along the clip.

    clip: (B,3,F,H,W). borders: indices of the first frame after each border, in [1, F - 1].
    reach: pairs of frames before and after a border that it is compared with; borders are left out of them.

    Raises ValueError for borders outside the clip, and where nothing lies near them.
    """
    frames = clip.shape[2]
    if not borders or not all(0 < border < frames for border in borders):
        raise ValueError(f"borders must lie in [1, {frames - 1}], not {borders}")
    change = _differences(clip)  # entry i: from frame i to i + 1
    at = {border - 1 for border in borders}
    near = {i for border in at for i in range(border - reach, border + reach + 1) if 0 <= i < frames - 1} - at
    if not near:
        raise ValueError("no pair of frames lies near the borders")
    return change[:, sorted(at)].mean(1) / change[:, sorted(near)].mean(1).clamp(min=1e-6)


def loop_seam(clip: Tensor, reach: int = 2) -> Tensor:
    """`seam` between the last frame of a clip that is played in a loop and its first, (B,); F >= 3."""
    half = clip.shape[2] // 2
    return seam(clip.roll(half, dims=2), [half], reach)


def drift(clip: Tensor, loop: int) -> Tensor:
    """Mean absolute difference of frames that show the same phase, in 8-bit levels, (B,).

    The first and the last loop of the clip are compared; 0 where the motion repeats and nothing else changes.

    clip: (B,3,F,H,W), F >= 2 loop. loop: frames of one loop.
    """
    last = (clip.shape[2] // loop - 1) * loop
    return (clip[:, :, last : last + loop] - clip[:, :, :loop]).abs().mean(dim=(1, 2, 3, 4)) * LEVELS


def _differences(clip: Tensor) -> Tensor:
    """Mean absolute difference of consecutive frames, (B,F-1)."""
    return torch.diff(clip, dim=2).abs().mean(dim=(1, 3, 4))
