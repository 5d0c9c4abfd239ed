"""The rasterizer against ray casting by trimesh."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import Delaunay
from trimesh.ray.ray_triangle import RayMeshIntersector

from core.toybox.camera import rays
from dream3d.meshing.rasterizer import fragments, rasterize, silhouettes

SIZE = 24


def scene() -> trimesh.Trimesh:
    """Closed solids that occlude one another, one of them at the border of the image."""
    parts = [
        trimesh.creation.icosphere(subdivisions=2, radius=0.5),
        trimesh.creation.box((0.4, 1.2, 0.3)),
        trimesh.creation.torus(0.7, 0.15, major_sections=20, minor_sections=10),
        trimesh.creation.box((3.0, 0.1, 0.2)),
    ]
    for part, place in zip(parts, ((0, 1.3, 0), (0.5, 0.9, 0.5), (0, 0.9, 0), (0, 0.3, 0)), strict=True):
        part.apply_translation(place)
    mesh = trimesh.util.concatenate(parts)
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


@pytest.mark.parametrize("view", range(3))
def test_visible_surfaces_agree_with_ray_casting(ring, view: int) -> None:
    mesh, cameras = scene(), ring(3)
    eye, axes = (values[view] for values in cameras.to_numpy()[:2])
    surface = list(rasterize(mesh.vertices, mesh.faces, cameras, SIZE))[view]

    directions = rays(SIZE).double().reshape(-1, 3).numpy() @ axes.T
    at, ray, _ = RayMeshIntersector(mesh).intersects_location(
        np.broadcast_to(eye, directions.shape), directions, multiple_hits=False
    )
    depth = np.full(SIZE * SIZE, np.inf)
    depth[ray] = (at - eye) @ -axes[:, 2]
    ours = surface.depth.ravel()
    same = (np.isinf(depth) & np.isinf(ours)) | (np.abs(depth - np.where(np.isinf(ours), 0, ours)) < 1e-5)
    assert (~same).sum() <= 2  # rays along an edge are ambiguous
    assert 0.2 < np.isfinite(ours).mean() < 0.8

    hit = surface.face >= 0
    assert (hit == np.isfinite(surface.depth)).all()
    points = (surface.weights[hit][..., None] * mesh.triangles[surface.face[hit]]).sum(1)
    expected = eye + directions[hit.ravel()] * surface.depth[hit][:, None]  # the directions' depth is 1
    assert points == pytest.approx(expected, abs=1e-6)
    assert (silhouettes(mesh.vertices, mesh.faces, cameras, SIZE)[view] == hit).all()


def test_shared_edges_have_no_gaps() -> None:
    random = np.random.default_rng(0)
    corners = np.array([[-1.0, -1], [33, -1], [33, 33], [-1, 33]])
    points = np.concatenate([corners, random.uniform(0, 32, (200, 2))])
    triangles = points[Delaunay(points).simplices]
    found = fragments(triangles, 32, 32)
    assert (np.bincount(found.pixel, minlength=32 * 32) == 1).all()
    centers = (found.weights[..., None] * triangles[found.face]).sum(1)
    assert centers == pytest.approx(np.stack([found.pixel % 32, found.pixel // 32], 1) + 0.5)


def test_triangles_at_and_behind_the_camera_are_dropped(ring) -> None:
    mesh, camera = scene(), ring(1)
    (eye,), (axes,), _ = camera.to_numpy()
    mesh.apply_translation(eye - mesh.bounds.mean(0))  # all around the camera
    (surface,) = rasterize(mesh.vertices, mesh.faces, camera, SIZE)
    assert (surface.depth > 0).all()
    mesh.apply_translation(4 * axes[:, 2])
    (surface,) = rasterize(mesh.vertices, mesh.faces, camera, SIZE)
    assert (surface.face == -1).all()


def test_degenerate_triangles_cover_nothing() -> None:
    flat = np.array([[[1.0, 1], [5, 5], [9, 9]], [[2, 2], [2, 2], [2, 2]]])
    assert len(fragments(flat, 16, 16).face) == 0
    assert len(fragments(np.zeros((0, 3, 2)), 16, 16).face) == 0
