"""Mesh decimation that preserves closed surfaces."""

from collections import defaultdict

import numpy as np
import trimesh
from fast_simplification import simplify
from numpy.typing import NDArray


def decimate(surface: trimesh.Trimesh, faces: int) -> trimesh.Trimesh:
    """The surface with at most `faces` triangles, by quadric error (Garland and Heckbert 1997).

    A closed surface stays closed.
    """
    # Aggression 4 makes few slivers but may stop early; closing holes may add a few triangles.
    for aggression, count in ((4, faces), (7, faces), (7, faces * 9 // 10)):
        if len(surface.faces) <= faces:
            break
        vertices, triangles, *_ = simplify(
            surface.vertices, surface.faces, target_count=count, agg=aggression
        )
        surface = without_pinches(trimesh.Trimesh(vertices, triangles, process=False))
    return surface


def without_pinches(surface: trimesh.Trimesh) -> trimesh.Trimesh:
    """The surface with exactly two triangles at every edge. The winding must be consistent.

    Collapsing the edges of a thin neck leaves edges with four triangles. All triangles at such edges, and at
    open ones, are removed. The border of the remaining surface consists of loops, and each loop is closed by
    a fan around its centroid. The edges inside a fan are new, so no edge gets more than two triangles.
    """
    faces = np.asarray(surface.faces)
    _, edge, count = np.unique(surface.edges_sorted, axis=0, return_inverse=True, return_counts=True)
    manifold = (count[edge.ravel()] == 2).reshape(-1, 3).all(1)  # edges: three per triangle, in order
    if manifold.all():
        return surface
    remaining = faces[manifold]
    edges = remaining[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    total = len(surface.vertices)
    border = ~np.isin(edges[:, 0] * total + edges[:, 1], edges[:, 1] * total + edges[:, 0])
    centers, fans = [], []
    for loop in _simple_loops(edges[border][:, ::-1]):  # the neighbor at an edge has the opposite direction
        center = np.full(len(loop), total + len(centers))
        fans.append(np.stack([loop, np.roll(loop, -1), center], 1))
        centers.append(surface.vertices[loop].mean(0))
    closed = trimesh.Trimesh(
        np.concatenate([surface.vertices, *([centers] if centers else [])]),
        np.concatenate([remaining, *fans]),
        process=False,
    )
    closed.remove_unreferenced_vertices()
    return closed


def _simple_loops(edges: NDArray[np.integer]) -> list[list[int]]:
    """Splits directed edges (E,2) into loops that visit no vertex twice.

    Every vertex must have as many incoming as outgoing edges.
    """
    successors: defaultdict[int, list[int]] = defaultdict(list)
    for start, end in edges.tolist():
        successors[start].append(end)
    loops = []
    for start in list(successors):
        path = [start]
        while successors[path[-1]]:
            vertex = successors[path[-1]].pop()
            if vertex in path:
                at = path.index(vertex)
                loops.append(path[at:])
                del path[at + 1 :]
            else:
                path.append(vertex)
    return loops
