"""Metrics of motion, flicker and seams in clips, and confidence intervals of shares; none needs a model.

Clips are (B,3,F,H,W) in [-1, 1] and show one figure in the middle of a backdrop. The backdrop is estimated
from the clip: in each frame, a row's color is the median of its `BAND` leftmost and rightmost pixels.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamlift.evaluation.image_metrics import luminance

BAND = 4  # px
TOLERANCE = 0.25  # in [-1, 1]: largest difference, in any channel, between a backdrop pixel and the backdrop
GROUND = 0.69  # of the height, from the top: shadows fall below this row
LEVELS = 127.5  # 8-bit levels per unit of [-1, 1]
BLOCK = 8  # pixels, side of the blocks that move together in `compensated_flicker`
MOTION_REACH = 4  # pixels, greatest displacement from frame to frame in each direction


class SineFit(NamedTuple):
    """Least-squares sine fit of B tracks: coefficient of determination R^2 (B,) and amplitude (B,)."""

    r2: Tensor
    amplitude: Tensor


def wilson(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a share, `hits` of `count` >= 1 (Wilson 1927, no continuity correction)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = hits / count, 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z / scale * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def figure(clip: Tensor) -> Tensor:
    """Figure mask, bool (B,F,H,W): pixels that differ from the backdrop by more than `TOLERANCE`."""
    band = torch.cat([clip[..., :BAND], clip[..., -BAND:]], dim=-1)
    # torch.median returns the lower middle value of an even count; this is the mean of both middle values.
    backdrop = (band.median(dim=-1, keepdim=True).values - (-band).median(dim=-1, keepdim=True).values) / 2
    return ((clip - backdrop).abs() > TOLERANCE).any(dim=1)


def outside(clip: Tensor) -> Tensor:
    """Backdrop mask, bool (B,H,W): pixels that no frame's figure covers, and always the bands at the sides.

    The backdrop is estimated per frame, so a backdrop that changes in all pixels stays outside the figure and
    its change counts as flicker.
    """
    background = ~figure(clip).any(dim=1)
    background[..., :BAND] = True
    background[..., -BAND:] = True
    return background


def flicker(clip: Tensor) -> Tensor:
    """Mean absolute difference of consecutive frames outside the figure, in 8-bit levels, (B,)."""
    change = (clip[:, :, 1:] - clip[:, :, :-1]).abs().mean(dim=(1, 2))
    return _mean_where(change, outside(clip)) * LEVELS


def unsteadiness(clip: Tensor) -> Tensor:
    """Mean over all pixels of |x_{i-1} - 2 x_i + x_{i+1}| / 2, in 8-bit levels, (B,); F >= 3.

    Steady motion and steady changes of brightness give small values; content that appears and disappears from
    frame to frame gives large ones. The ratio of samples to renders is meaningful here, unlike for `flicker`,
    which is close to 0 on renders.
    """
    return clip.diff(n=2, dim=2).abs().mean(dim=(1, 2, 3, 4)) / 2 * LEVELS


def compensated_flicker(clip: Tensor) -> Tensor:
    """Mean absolute error of a frame predicted from its two neighbors, in 8-bit levels, (B,); F >= 3.

    The prediction is motion-compensated as in video coding: each block of `BLOCK` pixels is the mean of the
    blocks displaced by -d in the previous and by +d in the next frame, with the d of the least error, at most
    `MOTION_REACH` pixels in each direction. Steady motion is therefore free, unlike in `unsteadiness`; what
    appears and disappears costs. Only luminance counts.
    """
    gray = luminance(clip)  # (B,F,H,W)
    before, frame, after = gray[:, :-2], gray[:, 1:-1], gray[:, 2:]
    height, width, pad = *gray.shape[-2:], MOTION_REACH
    before, after = (F.pad(x, (pad, pad, pad, pad), mode="replicate") for x in (before, after))
    steps = range(-MOTION_REACH, MOTION_REACH + 1)
    least: Tensor | None = None
    for down in steps:
        for right in steps:
            earlier = before[..., pad - down :, pad - right :][..., :height, :width]
            later = after[..., pad + down :, pad + right :][..., :height, :width]
            error = F.avg_pool2d((frame - (earlier + later) / 2).abs(), BLOCK)
            least = error if least is None else torch.minimum(least, error)
    assert least is not None
    return least.mean(dim=(1, 2, 3)) * LEVELS


def motion(clip: Tensor) -> Tensor:
    """Standard deviation over time, mean over channels and the figure's pixels, in 8-bit levels, (B,).

    It measures the amount of motion, not its correctness: noise raises it too. 0 where there is no figure.
    """
    return _mean_where(clip.std(dim=2, correction=0).mean(dim=1), ~outside(clip)) * LEVELS


def horizontal_position(clip: Tensor) -> Tensor:
    """Mean horizontal position of the moving pixels in each frame, in picture widths from the left, (B,F).

    Moving pixels are those above `GROUND` that the figure covers in some frames but not in all. This excludes
    the shadow and static objects, such as the posts of a swing. 0.5 where nothing moves.
    """
    mask = figure(clip)
    moving = (mask & ~mask.all(dim=1, keepdim=True))[..., : round(GROUND * clip.shape[-2]), :].float()
    columns = (torch.arange(clip.shape[-1], device=clip.device) + 0.5) / clip.shape[-1]
    eps = 1e-6  # weight of a pixel in the middle, the result for empty masks
    return ((moving * columns).sum(dim=(-2, -1)) + 0.5 * eps) / (moving.sum(dim=(-2, -1)) + eps)


def sine_fit(track: Tensor, cycles: float = 1.0) -> SineFit:
    """Fits c + a sin + b cos, with `cycles` periods over the F frames, to tracks (B,F), F > 3.

    A constant track has R^2 = 0. Independent normal noise has R^2 = 2 / (F - 1) on average.
    """
    count = track.shape[1]
    angle = 2 * torch.pi * cycles * torch.arange(count, device=track.device, dtype=torch.float64) / count
    design = torch.stack([torch.ones_like(angle), angle.sin(), angle.cos()], dim=1)
    target = track.double().T
    weights = torch.linalg.lstsq(design, target).solution
    residual = (target - design @ weights).square().sum(dim=0)
    total = (target - target.mean(dim=0)).square().sum(dim=0)
    moves = total > 1e-12 * count
    r2 = torch.where(moves, 1 - residual / total.where(moves, torch.ones_like(total)), 0.0)
    return SineFit(r2.to(track.dtype), weights[1:].norm(dim=0).to(track.dtype))


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean of values (B,H,W) over the pixels where `where` (B,H,W) holds, (B,); 0 where it never holds."""
    return (values * where).sum(dim=(1, 2)) / where.sum(dim=(1, 2)).clamp(min=1)


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
