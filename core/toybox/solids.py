"""Solids from which the toybox is modeled, in flat batches over many frames.

There are three kinds: ellipsoids and boxes, which are affine images of the unit ball and the cube [-1, 1]^3,
and round cones, the convex hull of two balls. Units are world units (a standing figure is about 2 high), axes
are right-handed with +y up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


@dataclass(frozen=True)
class AffineSolids:
    """S affine images of a unit ball or cube: p is inside iff matrix (p - center) is in the unit solid."""

    frame: Tensor  # (S,) int64, index of the frame of each solid
    center: Tensor  # (S,3)
    matrix: Tensor  # (S,3,3) from world to the unit solid
    radius: Tensor  # (S,) of a bounding ball about `center`
    color: Tensor  # (S,3) in [0,1]


@dataclass(frozen=True)
class RoundCones:
    """S convex hulls of two balls: `a` with radius `ra`, `b` with radius `rb`."""

    frame: Tensor  # (S,) int64
    a: Tensor  # (S,3)
    b: Tensor  # (S,3)
    ra: Tensor  # (S,)
    rb: Tensor  # (S,)
    color: Tensor  # (S,3)


Part = TypeVar("Part", AffineSolids, RoundCones)


@dataclass(frozen=True)
class Solids:
    """All solids of a batch of `frames` frames."""

    frames: int
    ellipsoids: AffineSolids
    boxes: AffineSolids
    cones: RoundCones

    def to(self, device: torch.device | str) -> Solids:
        """The solids on another device."""

        def move(part: Part) -> Part:
            return type(part)(*(getattr(part, f.name).to(device) for f in fields(part)))

        return Solids(self.frames, move(self.ellipsoids), move(self.boxes), move(self.cones))

    @staticmethod
    def cat(parts: list[Solids]) -> Solids:
        """Concatenation of batches along the frames."""
        starts = np.cumsum([0] + [p.frames for p in parts])

        def join(pieces: Sequence[Part]) -> Part:
            kind = type(pieces[0])
            columns = {f.name: [getattr(p, f.name) for p in pieces] for f in fields(kind)}
            shifts = zip(columns["frame"], starts[:-1], strict=True)
            columns["frame"] = [frame + int(start) for frame, start in shifts]
            return kind(**{name: torch.cat(tensors) for name, tensors in columns.items()})

        return Solids(
            int(starts[-1]),
            join([p.ellipsoids for p in parts]),
            join([p.boxes for p in parts]),
            join([p.cones for p in parts]),
        )


@dataclass(frozen=True)
class Frame:
    """A coordinate frame at each of N moments: world point = origin + scale * rotation (local point)."""

    origin: np.ndarray  # (N,3)
    rotation: np.ndarray  # (N,3,3)
    scale: float = 1.0

    @staticmethod
    def world(count: int) -> Frame:
        """The world frame at `count` moments."""
        return Frame(np.zeros((count, 3)), np.broadcast_to(np.eye(3), (count, 3, 3)))

    def point(self, local: ArrayLike) -> np.ndarray:
        """World coordinates (N,3) of a local point (3,) or (N,3)."""
        local = np.broadcast_to(np.asarray(local, float), self.origin.shape)
        return self.origin + self.scale * np.einsum("nij,nj->ni", self.rotation, local)

    def local(self, world: np.ndarray) -> np.ndarray:
        """Local coordinates (N,3) of a world point (N,3)."""
        return np.einsum("nji,nj->ni", self.rotation, world - self.origin) / self.scale

    def child(
        self, offset: ArrayLike = (0.0, 0.0, 0.0), rotation: np.ndarray | None = None, scale: float = 1.0
    ) -> Frame:
        """The frame at a local `offset`, rotated and scaled relative to this one."""
        turned = self.rotation if rotation is None else self.rotation @ rotation
        return Frame(self.point(offset), turned, self.scale * scale)


def rotation(axis: str, degrees: ArrayLike) -> np.ndarray:
    """Right-handed rotation about "x", "y" or "z": degrees () or (N,) -> matrix (3,3) or (N,3,3)."""
    angle = np.deg2rad(np.asarray(degrees, float))
    c, s, o, i = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    rows = {
        "x": [[i, o, o], [o, c, -s], [o, s, c]],
        "y": [[c, o, s], [o, i, o], [-s, o, c]],
        "z": [[c, -s, o], [s, c, o], [o, o, i]],
    }[axis]
    return np.stack([np.stack(row, -1) for row in rows], -2)


class SceneBuilder:
    """Collects the solids of one scene at N = `count` moments.

    Points, radii and colors are constant or have a first axis of N. Points and radii are in the units of the
    frame (`Frame`, also of N moments) of the same call.
    """

    def __init__(self, count: int):
        self.count = count
        self._balls: list[tuple[np.ndarray, ...]] = []
        self._cubes: list[tuple[np.ndarray, ...]] = []
        self._cones: list[tuple[np.ndarray, ...]] = []
        self._eyes: list[tuple[np.ndarray, np.ndarray]] = []

    def eye(
        self, frame: Frame, center: ArrayLike, radius: float, outward: ArrayLike = (0.0, 0.0, 1.0)
    ) -> None:
        """Marks the front of an eye, which other solids draw. The two eyes of a head are marked in a row.

        outward: the direction in which it looks, a unit vector.
        """
        normal = frame.rotation @ np.asarray(outward, float)
        place = np.concatenate([frame.point(center), normal], -1)
        self._eyes.append((place, self._per_moment(radius * frame.scale)))

    def eyes(self) -> tuple[np.ndarray, np.ndarray]:
        """All marked eyes, two for every head: positions and normals (N,E,6) in the world, radii (N,E)."""
        if not self._eyes:
            return np.zeros((self.count, 0, 6)), np.zeros((self.count, 0))
        places, radii = zip(*self._eyes, strict=True)
        return np.stack(places, 1), np.stack(radii, 1)

    def ball(
        self,
        frame: Frame,
        center: ArrayLike,
        radii: ArrayLike,
        color: ArrayLike,
        turn: np.ndarray | None = None,
    ) -> None:
        """An ellipsoid with one or three `radii` along the axes of `frame`, rotated by `turn`.

        turn: (3,3) or (N,3,3).
        """
        radii = np.broadcast_to(radii, np.shape(radii)[:-1] + (3,))
        size, matrix = self._affine(frame, radii, turn)
        self._balls.append((frame.point(center), matrix, size.max(-1), self._per_moment(color, 3)))

    def box(
        self,
        frame: Frame,
        center: ArrayLike,
        half: ArrayLike,
        color: ArrayLike,
        turn: np.ndarray | None = None,
    ) -> None:
        """A box with half extents `half` (3,) along the axes of `frame`, rotated by `turn`."""
        size, matrix = self._affine(frame, half, turn)
        reach = np.linalg.norm(size, axis=-1)
        self._cubes.append((frame.point(center), matrix, reach, self._per_moment(color, 3)))

    def cone(self, frame: Frame, a: ArrayLike, b: ArrayLike, ra: float, rb: float, color: ArrayLike) -> None:
        """A round cone from `a` (radius `ra`) to `b` (radius `rb`)."""
        radii = (self._per_moment(r * frame.scale) for r in (ra, rb))
        self._cones.append((frame.point(a), frame.point(b), *radii, self._per_moment(color, 3)))

    def chain(
        self, frame: Frame, points: Sequence[ArrayLike], radii: Sequence[float], color: ArrayLike
    ) -> None:
        """Round cones along a path of points, with one radius per point."""
        for a, b, ra, rb in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
            self.cone(frame, a, b, ra, rb, color)

    def solids(self) -> Solids:
        """All solids added so far, as a batch of `count` frames."""
        affine = [(3,), (3, 3), (), (3,)]
        return Solids(
            self.count,
            AffineSolids(*self._columns(self._balls, affine)),
            AffineSolids(*self._columns(self._cubes, affine)),
            RoundCones(*self._columns(self._cones, [(3,), (3,), (), (), (3,)])),
        )

    def _per_moment(self, value: ArrayLike, *shape: int) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, float), (self.count, *shape))

    def _affine(
        self, frame: Frame, size: ArrayLike, turn: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Half extents (N,3) and the matrix (N,3,3) from the world to the unit solid."""
        axes = frame.rotation if turn is None else frame.rotation @ turn
        extent = self._per_moment(size, 3) * frame.scale
        return extent, np.swapaxes(axes, -1, -2) / extent[:, :, None]

    def _columns(self, rows: list[tuple[np.ndarray, ...]], shapes: list[tuple[int, ...]]) -> list[Tensor]:
        """R rows of arrays (N, *shape) -> the frame (R*N,) and the columns (R*N, *shape), float32."""
        if not rows:
            return [torch.zeros(0, dtype=torch.int64), *(torch.zeros(0, *shape) for shape in shapes)]
        stacked = (
            np.stack(column).reshape(-1, *shape)
            for column, shape in zip(zip(*rows, strict=True), shapes, strict=True)
        )
        frame = torch.arange(self.count).repeat(len(rows))
        return [frame, *(torch.from_numpy(column).float() for column in stacked)]
