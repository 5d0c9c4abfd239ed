"""Rasterization of triangles in numpy: coverage of pixels and visible surfaces."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

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
    # An array for each coordinate: numpy is several times as slow along a last axis of two or three.
    xs, ys = np.ascontiguousarray(corners.transpose(2, 1, 0), np.float64)
    (ax, bx, cx), (ay, by, cy) = xs, ys
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)  # twice it, signed
    left, right = _covered_centers(xs, width)
    top, bottom = _covered_centers(ys, height)
    valid = np.flatnonzero((right >= left) & (bottom >= top) & (area != 0))
    left, right, top, bottom, area = left[valid], right[valid], top[valid], bottom[valid], area[valid]
    (ax, bx, cx), (ay, by, cy) = xs[:, valid], ys[:, valid]

    columns = right - left + 1
    counts = columns * (bottom - top + 1)  # pixels of the bounding boxes

    def spread(values: NDArray[Any]) -> NDArray[Any]:
        """The value of its triangle for each pixel of a bounding box."""
        return np.repeat(values, counts)

    y, x = np.divmod(np.arange(counts.sum()) - spread(counts.cumsum() - counts), spread(columns))
    x, y = x + spread(left), y + spread(top)
    px, py = x + 0.5 - spread(ax), y + 0.5 - spread(ay)
    # The weights are linear in the image.
    second = px * spread((cy - ay) / area) + py * spread((ax - cx) / area)
    third = px * spread((ay - by) / area) + py * spread((bx - ax) / area)
    first = 1 - second - third
    inside = np.flatnonzero((first >= -EDGE) & (second >= -EDGE) & (third >= -EDGE))
    weights = np.stack([first[inside], second[inside], third[inside]], 1)
    return Fragments(spread(valid)[inside], (y * width + x)[inside], weights)


def _covered_centers(corners: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last of `count` pixels in a row whose centers lie between the outermost of corners (3,F)."""
    first = np.ceil(corners.min(0) - 0.5).clip(0, count)
    last = np.floor(corners.max(0) - 0.5).clip(-1, count - 1)
    return first.astype(np.int64), last.astype(np.int64)


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
    a, b, c = np.ascontiguousarray(faces.T)
    x, y = np.ascontiguousarray(places.T)
    area = (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a])
    far = depth > NEAR
    # Counter-clockwise triangles have negative area, because y points down.
    return np.flatnonzero((area < 0) & far[a] & far[b] & far[c])


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks of the same shape; 1 if both are empty."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0
