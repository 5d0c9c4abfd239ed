"""STL for printing: in millimeters, on a flat base, without colors."""

from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.exchange.stl import export_stl

from core.io.atomic import atomic_write
from core.notice import notice
from dream3d.meshing.mesh import Mesh

HEIGHT = 100.0  # mm, unless another is given
BASE = 0.02  # share of the height, at the bottom, that is pressed flat


def write_stl(path: Path, mesh: Mesh, axis: int, height: float | None = None) -> list[Path]:
    """Writes the mesh as binary STL; returns the path.

    axis: of `mesh`, that points up: 1 or 2. height: mm, `HEIGHT` unless given.

    A notice tells where the surface is not closed, which a printer's software has to repair.
    """
    surface = printable(mesh, axis, HEIGHT if height is None else height)
    data = export_stl(surface)
    read = trimesh.load(trimesh.util.wrap_as_stream(data), file_type="stl")
    if not (isinstance(read, trimesh.Trimesh) and read.is_watertight):
        notice(f"{path.name} is not watertight: repair it before it is printed, or try another --seed.")
    with atomic_write(path) as draft:
        draft.write_bytes(data)
    return [path]


def printable(mesh: Mesh, axis: int, height: float) -> trimesh.Trimesh:
    """The surface of a mesh on the plane 0 of its upright axis, `height` high, centered along the others.

    What lies below a share `BASE` of the height is pressed onto the plane. A closed surface stays closed.
    """
    points: NDArray[np.float64] = mesh.vertices.astype(np.float64)
    low, high = points[:, axis].min(), points[:, axis].max()
    points[:, axis] -= low + BASE * (high - low)
    points, faces = split_at_zero(points, mesh.faces, axis)
    points[:, axis] = points[:, axis].clip(0)
    points *= height / points[:, axis].max()
    middle = (points.min(0) + points.max(0)) / 2
    middle[axis] = 0
    return trimesh.Trimesh(points - middle, faces, process=False)


def split_at_zero(
    points: NDArray[np.float64], faces: NDArray[np.integer], axis: int
) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    """Vertices (V',3) and faces (F',3) of the same surface, none of which crosses the plane 0 of an axis.

    An edge that crosses it gets a vertex there, which its faces share, so a closed surface stays closed.
    """
    below = points[:, axis] < 0
    corners = below[faces]
    crosses = corners.any(1) & ~corners.all(1)
    crossing, sides = faces[crosses], corners[crosses]
    # Turned so that the first corner is on one side, and the other two on the other.
    first = np.where(sides.sum(1) == 1, sides.argmax(1), (~sides).argmax(1))
    a, b, c = np.take_along_axis(crossing, (first[:, None] + np.arange(3)) % 3, 1).T
    edges = np.sort(np.concatenate([np.stack([a, b], 1), np.stack([a, c], 1)]), 1)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    start, end = points[unique[:, 0]], points[unique[:, 1]]
    share = start[:, axis, None] / (start - end)[:, axis, None]
    new = start + share * (end - start)
    new[:, axis] = 0
    ab, ac = len(points) + index.reshape(2, -1)
    parts = [np.stack(part, 1) for part in ((a, ab, ac), (ab, b, c), (ab, c, ac))]
    return np.concatenate([points, new]), np.concatenate([faces[~crosses], *parts])
