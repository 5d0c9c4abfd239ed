"""Transparency of clips that are drawn before a plain backdrop, by the difference from its color.

The compositing equation C = alpha F + (1 - alpha) B (Porter and Duff 1984) is solved for alpha and F, with B
fitted to the clip.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.io.pictures import Frames

BORDER = 0.06  # share of the width, at the edges, that is taken for the backdrop at first
SHADES = 0.08  # largest distance of the backdrop's colors from the fit, twice that at first; RGB is in [0,1]
ROUNDS, SAMPLES = 4, 64  # of the fit, and the pixels of a column that it looks at
CLEAR, OPAQUE = 0.055, 0.16  # distances from the backdrop up to which, and from which, alpha is 0 and 1
LEAST = 0.1  # share of the pixels that are clear before a plain backdrop
EDGE = 1  # px, of the figure at its edges, that may be covered in part
SPECK = 0.0006  # share of a frame's pixels: smaller islands are removed, smaller holes filled

Array = NDArray[np.float64]


def remove_backdrop(frames: Frames) -> Frames:
    """Frames (F,H,W,4), not premultiplied, of frames (F,H,W,3) before a backdrop of one smooth shade.

    Raises ValueError where hardly anything has the color of the borders: that is no plain backdrop.
    """
    backdrop = fit_backdrop(frames)
    keyed = np.stack([_keyed(frame / 255, backdrop) for frame in frames])
    if (keyed[..., 3] == 0).mean() < LEAST:
        raise ValueError("the frames have no plain backdrop")
    return keyed


def _keyed(colors: Array, backdrop: Array) -> NDArray[np.uint8]:
    """One frame (H,W,4) of its colors (H,W,3)."""
    rough = _without_specks(_ramp(np.linalg.norm(colors - backdrop, axis=-1)))
    share = _edges(rough, colors, backdrop)[..., None]
    figure = np.where(share > 0, (colors - (1 - share) * backdrop) / share.clip(1e-3), 0).clip(0, 1)
    return (np.concatenate([figure, share], -1) * 255).round().astype(np.uint8)


def fit_backdrop(frames: Frames) -> Array:
    """The backdrop's colors (H,W,3) in [0,1], quadratic in x and y and the same in all frames (F,H,W,3).

    Least squares over the pixels near the fit so far, which begins with the median of the borders.
    """
    _, height, width, _ = frames.shape
    every = max(1, round(height / SAMPLES))
    colors = frames[:, ::every, ::every] / 255
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    sampled = terms[::every, ::every]
    edge = max(1, round(BORDER * sampled.shape[1]))
    border = np.concatenate([colors[:, :, :edge], colors[:, :, -edge:]], 2).reshape(-1, 3)
    fit, limit = np.broadcast_to(np.median(border, 0), colors.shape[1:]), 2 * SHADES
    factors = np.zeros((6, 3))
    for _ in range(ROUNDS):
        near = np.linalg.norm(colors - fit, axis=-1) < limit
        rows = np.broadcast_to(sampled, (*near.shape, 6))[near]
        factors = np.linalg.lstsq(rows, colors[near], rcond=None)[0]
        fit, limit = sampled @ factors, SHADES
    return terms @ factors


def _ramp(distance: Array) -> Array:
    """Alpha of distances from the backdrop, smooth between the limits."""
    share = ((distance - CLEAR) / (OPAQUE - CLEAR)).clip(0, 1)
    return share * share * (3 - 2 * share)


def _edges(alpha: Array, colors: Array, backdrop: Array) -> Array:
    """Alpha (H,W) with the coverage of the pixels at edges, of which the figure's colors lie further inside.

    colors, backdrop: (H,W,3). Where nothing lies further inside, as in thin parts, alpha stays as it is.
    """
    from scipy import ndimage

    inside: Any = ndimage.binary_erosion(alpha > 0.5, iterations=EDGE, border_value=1)
    if not inside.any():
        return alpha
    found: Any = ndimage.distance_transform_edt(~inside, return_indices=True)
    away, (row, column) = found
    contrast = colors[row, column] - backdrop
    share = ((colors - backdrop) * contrast).sum(-1) / (contrast**2).sum(-1).clip(OPAQUE**2)
    return np.where((alpha > 0) & (away > 0) & (away <= EDGE + 1), share.clip(0, 1), alpha)


def _without_specks(alpha: Array) -> Array:
    """Alpha (H,W) without small islands in what is clear, and without small holes in what is not."""
    least = SPECK * alpha.size
    cleaned = alpha.copy()
    for small, value in ((_small(alpha > 0, least), 0.0), (_small(alpha < 0.5, least), 1.0)):
        cleaned[small] = value
    return cleaned


def _small(mask: NDArray[np.bool_], least: float) -> NDArray[np.bool_]:
    """The connected parts of a mask that have fewer pixels than `least`."""
    from scipy import ndimage

    found: Any = ndimage.label(mask)
    labels, _ = found
    small = np.bincount(labels.ravel()) < least
    small[0] = False
    return small[labels]
