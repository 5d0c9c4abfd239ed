"""Measures of motion and of shares. None needs a model, so renders and samples are measured alike.

Clips are (B,3,F,H,W) in [-1, 1] and show one figure in the middle of a backdrop. The backdrop is read off the
clip itself: in each frame, a row's color is the median of its `BAND` leftmost and rightmost pixels.
"""

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

BAND = 4  # px
TOLERANCE = (
    0.25  # of [-1, 1]: how far, in any channel, a pixel may be from the backdrop and still belong to it
)
GROUND = 0.69  # of the height, from the top: shadows fall below
LEVELS = 127.5  # 8-bit levels per unit of [-1, 1]


class SineFit(NamedTuple):
    """Least-squares sine: of each track the share of variance explained and the amplitude, (B,)."""

    r2: Tensor
    amplitude: Tensor


def wilson(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a share of `hits` in `count` >= 1 trials; Wilson 1927, no continuity correction."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = hits / count, 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z / scale * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def figure(clip: Tensor) -> Tensor:
    """Where each frame differs from its backdrop by more than `TOLERANCE`: bool (B,F,H,W)."""
    band = torch.cat([clip[..., :BAND], clip[..., -BAND:]], dim=-1)
    # Of an even count torch takes the lower middle value; the mean of both treats the two sides alike.
    backdrop = (band.median(dim=-1, keepdim=True).values - (-band).median(dim=-1, keepdim=True).values) / 2
    return ((clip - backdrop).abs() > TOLERANCE).any(dim=1)


def outside(clip: Tensor) -> Tensor:
    """The pixels that show the backdrop in every frame, and the band at the sides anyway: bool (B,H,W).

    The backdrop is each frame's own, so that one that changes as a whole stays outside and its change counts.
    """
    never = ~figure(clip).any(dim=1)
    never[..., :BAND] = True
    never[..., -BAND:] = True
    return never


def flicker(clip: Tensor) -> Tensor:
    """Mean absolute change from frame to frame outside the figure, in 8-bit levels, (B,)."""
    change = (clip[:, :, 1:] - clip[:, :, :-1]).abs().mean(dim=(1, 2))
    return _mean_where(change, outside(clip)) * LEVELS


def unsteadiness(clip: Tensor) -> Tensor:
    """Mean over the whole picture of |x_{i-1} - 2 x_i + x_{i+1}| / 2, in 8-bit levels, (B,); F >= 3.

    What moves or brightens evenly has little of it, what comes and goes from frame to frame has much. Renders
    have next to no flicker outside the figure, so of that a ratio says little; of this it does.
    """
    return clip.diff(n=2, dim=2).abs().mean(dim=(1, 2, 3, 4)) / 2 * LEVELS


def motion(clip: Tensor) -> Tensor:
    """Standard deviation over time, mean over the channels and the pixels inside, in 8-bit levels, (B,).

    How much moves, not whether it moves rightly: noise raises it as well. 0 where there is no figure.
    """
    return _mean_where(clip.std(dim=2, correction=0).mean(dim=1), ~outside(clip)) * LEVELS


def horizontal_position(clip: Tensor) -> Tensor:
    """Mean horizontal position in each frame of what moves, picture widths from the left, (B,F).

    What moves are the figure's pixels above `GROUND` that it does not cover in every frame: neither its
    shadow nor what stands beside it (the posts of a swing). 0.5 where nothing moves.
    """
    here = figure(clip)
    here = (here & ~here.all(dim=1, keepdim=True))[..., : round(GROUND * clip.shape[-2]), :].float()
    at = (torch.arange(clip.shape[-1], device=clip.device) + 0.5) / clip.shape[-1]
    empty = 1e-6  # of a pixel in the middle
    return ((here * at).sum(dim=(-2, -1)) + 0.5 * empty) / (here.sum(dim=(-2, -1)) + empty)


def sine_fit(track: Tensor, cycles: float = 1.0) -> SineFit:
    """Fits c + a sin + b cos, of `cycles` periods over the F frames, to tracks (B,F), F > 3.

    A track that stands still has R^2 0. Of independent normal noise R^2 is 2 / (F - 1) on average.
    """
    count = track.shape[1]
    turn = 2 * torch.pi * cycles * torch.arange(count, device=track.device, dtype=torch.float64) / count
    design = torch.stack([torch.ones_like(turn), turn.sin(), turn.cos()], dim=1)
    target = track.double().T
    weights = torch.linalg.lstsq(design, target).solution
    left = (target - design @ weights).square().sum(dim=0)
    total = (target - target.mean(dim=0)).square().sum(dim=0)
    moves = total > 1e-12 * count
    r2 = torch.where(moves, 1 - left / total.where(moves, torch.ones_like(total)), 0.0)
    return SineFit(r2.to(track.dtype), weights[1:].norm(dim=0).to(track.dtype))


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean of values (B,H,W) over the pixels of each row where `where` holds; 0 where none does."""
    return (values * where).sum(dim=(1, 2)) / where.sum(dim=(1, 2)).clamp(min=1)
