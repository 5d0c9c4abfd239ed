"""Rasterization of triangles in numpy: coverage of pixels and visible surfaces."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dream3d.nerf.cameras import Cameras

NEAR = 1e-3  # m; triangles with a vertex nearer to the camera's plane, or behind it, are dropped
EDGE = 1e-9  # weights above minus this count as inside, so that shared edges have no cracks


class Fragments(NamedTuple):
    """Pixel centers covered by triangles, sorted by face."""

    face: NDArray[np.int64]  # (K,)
    pixel: NDArray[np.int64]  # (K,) row * width + column
    weights: NDArray[np.float64]  # (K,3) barycentric in the image plane


class VisibleSurface(NamedTuple):
    """The nearest triangle at every pixel of one view."""

    face: NDArray[np.int64]  # (H,W), -1 where there is none
    weights: NDArray[np.float64]  # (H,W,3) barycentric in space; zeros where there is none
    depth: NDArray[np.float64]  # (H,W) m along the camera's axis, infinite where there is none


def fragments(corners: NDArray[np.floating], height: int, width: int) -> Fragments:
    """Fragments of triangles (F,3,2) in pixels: x to the right, y down, pixel (0, 0) centered on (0.5, 0.5).

    Both windings are covered, triangles without area cover nothing, and a pixel center on a shared edge
    belongs to both triangles.
    """
    corners = corners.astype(np.float64, copy=False)
    size = np.array([width, height])
    low = np.ceil(corners.min(1) - 0.5).clip(0, size).astype(np.int64)
    high = np.floor(corners.max(1) - 0.5).clip(-1, size - 1).astype(np.int64)
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]  # twice it, signed
    valid = np.flatnonzero((high >= low).all(1) & (area != 0))
    low, high, a, ab, ac, area = low[valid], high[valid], a[valid], ab[valid], ac[valid], area[valid]

    columns, rows = (high - low + 1).T
    counts = columns * rows
    row = np.repeat(np.arange(len(valid)), counts)  # into the arrays of valid triangles
    place = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)  # within the bounding box
    y, x = np.divmod(place, columns[row])
    x, y = x + low[row, 0], y + low[row, 1]

    px, py = x + 0.5 - a[row, 0], y + 0.5 - a[row, 1]
    to_b = np.stack([ac[:, 1], -ac[:, 0]], 1) / area[:, None]  # gradients of the second and third weight
    to_c = np.stack([-ab[:, 1], ab[:, 0]], 1) / area[:, None]
    second = px * to_b[row, 0] + py * to_b[row, 1]
    third = px * to_c[row, 0] + py * to_c[row, 1]
    weights = np.stack([1 - second - third, second, third], 1)
    inside = (weights >= -EDGE).all(1)
    return Fragments(valid[row[inside]], (y * width + x)[inside], weights[inside])


def project(
    vertices: NDArray[np.floating],
    eye: NDArray[np.floating],
    axes: NDArray[np.floating],
    field_of_view: float,
    size: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions (V,2) in pixels, as for `fragments`, and depths (V,) of world points (V,3)."""
    right, up, back = ((vertices - eye) @ axes).T
    depth = -back
    scale = 1 / (np.maximum(depth, NEAR) * math.tan(math.radians(field_of_view) / 2))
    return np.stack([1 + right * scale, 1 - up * scale], 1) * (size / 2), depth


def rasterize(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], cameras: Cameras, size: int
) -> Iterator[VisibleSurface]:
    """The visible surface of a closed mesh in each camera, size x size pixels; back faces are culled."""
    for eye, axes, field_of_view in zip(*cameras.to_numpy(), strict=True):
        places, depth = project(vertices, eye, axes, field_of_view, size)
        front = _facing(places, depth, faces)
        covered = fragments(places[faces[front]], size, size)
        face = front[covered.face]
        # 1 / depth is linear in the image; depth is not.
        near = covered.weights / depth[faces[face]]
        nearness = near.sum(1)
        nearest = np.full(size * size, -1)
        order = np.argsort(nearness, kind="stable")
        nearest[covered.pixel[order]] = order  # the last assignment to a pixel remains: the nearest fragment

        hit = nearest >= 0
        chosen = nearest[hit]
        surface = VisibleSurface(
            np.full(size * size, -1), np.zeros((size * size, 3)), np.full(size * size, np.inf)
        )
        surface.face[hit] = face[chosen]
        surface.weights[hit] = near[chosen] / nearness[chosen, None]
        surface.depth[hit] = 1 / nearness[chosen]
        yield VisibleSurface(
            surface.face.reshape(size, size),
            surface.weights.reshape(size, size, 3),
            surface.depth.reshape(size, size),
        )


def silhouettes(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], cameras: Cameras, size: int
) -> NDArray[np.bool_]:
    """Silhouettes (N,size,size) of a closed surface: True where it covers the center of the pixel."""
    masks = []
    for eye, axes, field_of_view in zip(*cameras.to_numpy(), strict=True):
        places, depth = project(vertices, eye, axes, field_of_view, size)
        front = _facing(places, depth, faces)
        mask = np.zeros(size * size, bool)
        mask[fragments(places[faces[front]], size, size).pixel] = True
        masks.append(mask.reshape(size, size))
    return np.stack(masks)


def _facing(
    places: NDArray[np.floating], depth: NDArray[np.floating], faces: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Indices of the triangles in front of the camera whose outside faces it."""
    a, b, c = places[faces].transpose(1, 2, 0)
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    # Counter-clockwise triangles have negative area, because y points down.
    return np.flatnonzero((area < 0) & (depth[faces] > NEAR).all(1))


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks of the same shape; 1 if both are empty."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0
