"""The toybox's renders against trimesh, with the same rays and triangle meshes of the same solids."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
import trimesh
from trimesh.ray.ray_triangle import RayMeshIntersector

from core.toybox.camera import Camera, rays
from core.toybox.ray_intersections import (
    TILE,
    BallIntersections,
    ConeIntersections,
    CubeIntersections,
    PixelGrid,
)
from core.toybox.render import render
from core.toybox.scenes import Scene
from core.toybox.solids import Frame, SceneBuilder, Solids, rotation

SIZE = 32
# Edges of the icosphere subtend up to 0.16 rad: its faces lie up to 1 - cos(0.09) = 0.4% of the radius
# inside the sphere.
SPHERE = trimesh.creation.icosphere(subdivisions=3)


def meshes(solids: Solids) -> list[trimesh.Trimesh]:
    """Unit meshes through the inverse of a solid's matrix; for round cones the hull of two balls."""
    found = []
    for part, unit in ((solids.ellipsoids, SPHERE), (solids.boxes, trimesh.creation.box((2, 2, 2)))):
        for matrix, center in zip(part.matrix.double().numpy(), part.center.double().numpy(), strict=True):
            vertices = unit.vertices @ np.linalg.inv(matrix).T + center
            found.append(trimesh.Trimesh(vertices, unit.faces, process=False))
    cones = solids.cones
    for row in zip(*(x.double().numpy() for x in (cones.a, cones.b, cones.ra, cones.rb)), strict=True):
        a, b, ra, rb = row
        balls = np.concatenate([SPHERE.vertices * ra + a, SPHERE.vertices * rb + b])
        found.append(trimesh.convex.convex_hull(balls))
    return found


class Seen(NamedTuple):
    depth: np.ndarray  # (SIZE**2,), infinite where nothing is hit
    normal: np.ndarray  # (SIZE**2,3) in world axes
    facing: np.ndarray  # (SIZE**2,) cosine between the normal and the ray back to the eye


def cast(solids: Solids, camera: Camera) -> Seen:
    """Ray casting by trimesh, with its own search tree and triangle intersection."""
    eye, axes = (x[0].double().numpy() for x in camera.axes())
    directions = rays(SIZE).double().reshape(-1, 3).numpy() @ axes.T
    mesh = trimesh.util.concatenate(meshes(solids))
    assert isinstance(mesh, trimesh.Trimesh)
    tracer = RayMeshIntersector(mesh)
    origins = np.broadcast_to(eye, directions.shape)
    at, ray, triangle = tracer.intersects_location(origins, directions, multiple_hits=False)
    depth = np.full(len(directions), np.inf)
    depth[ray] = (at - eye) @ -axes[:, 2]
    normal = np.zeros_like(directions)
    normal[ray] = mesh.face_normals[triangle]
    facing = -(normal * directions).sum(-1) / np.linalg.norm(directions, axis=-1)
    return Seen(depth, normal, facing)


def random_solids(rng: np.random.Generator) -> Solids:
    s = SceneBuilder(1)
    world = Frame.world(1)
    for _ in range(8):
        turn = rotation("x", rng.uniform(0, 360)) @ rotation("z", rng.uniform(0, 360))
        size = rng.uniform(0.05, 0.4, 3)
        places = rng.uniform(-0.8, 0.8, (3, 3)) + [0, 1, 0]
        s.ball(world, places[0], size, rng.random(3), turn)
        s.box(world, places[1], size, rng.random(3), turn)
        way = rng.normal(size=3)
        way *= rng.uniform(0.2, 0.6) / np.linalg.norm(way)
        s.cone(
            world, places[2], places[2] + way, rng.uniform(0.05, 0.2), rng.uniform(0.05, 0.2), rng.random(3)
        )
    return s.solids()


def compare(solids: Solids, azimuth: float, elevation: float) -> None:
    camera = Camera(torch.tensor([azimuth]), torch.tensor([elevation]))
    picture = render(solids, camera, SIZE, supersampling=1)
    ours = picture.depth[0, 0].double().numpy().reshape(-1)
    theirs = cast(solids, camera)

    hit = np.isfinite(theirs.depth)
    assert 0.1 < hit.mean() < 0.9
    # The inscribed meshes are smaller by a fraction of a pixel along every outline.
    assert (hit == np.isfinite(ours)).mean() > 0.985
    assert (np.isfinite(ours) | ~hit).mean() > 0.998
    # Away from outlines, a face 0.4% of at most 0.45 inside moves the hit by that over the cosine.
    inner = hit & np.isfinite(ours) & (theirs.facing > 0.4)
    assert inner.mean() > 0.1
    off = np.abs(ours[inner] - theirs.depth[inner])
    assert (off < 0.01).mean() > 0.99
    assert np.median(off) < 0.0015


@pytest.mark.parametrize(("seed", "azimuth", "elevation"), [(0, 0.0, 0.0), (1, 70.0, 25.0), (2, 200.0, -5.0)])
def test_random_solids(seed: int, azimuth: float, elevation: float) -> None:
    compare(random_solids(np.random.default_rng(seed)), azimuth, elevation)


def test_a_fox_with_a_game_controller() -> None:
    compare(Scene(1, 9, 4, 2).solids(np.array([0.3])), 25.0, 12.0)


@pytest.mark.parametrize("kind", ["ball", "box", "cone"])
def test_normals(kind: str) -> None:
    """Normals of one solid, for every ray that hits it."""
    s = SceneBuilder(1)
    frame = Frame.world(1).child((0, 1, 0), rotation("y", 30) @ rotation("x", 50))
    if kind == "ball":
        s.ball(frame, (0, 0, 0), (0.9, 0.5, 0.3), (1, 1, 1))
    elif kind == "box":
        s.box(frame, (0, 0, 0), (0.6, 0.5, 0.3), (1, 1, 1))
    else:
        s.cone(frame, (-0.4, 0, 0), (0.5, 0, 0), 0.5, 0.2, (1, 1, 1))
    solids = s.solids()
    camera = Camera(torch.tensor([15.0]), torch.tensor([20.0]))
    eye, axes = camera.axes()
    screen = PixelGrid(SIZE, "cpu")
    hits = {
        "ball": lambda: BallIntersections(solids.ellipsoids, eye, axes, screen),
        "box": lambda: CubeIntersections(solids.boxes, eye, axes, screen),
        "cone": lambda: ConeIntersections(solids.cones, eye, axes, screen),
    }[kind]()
    pair, ray = torch.nonzero(hits.depth.isfinite(), as_tuple=True)
    tile = hits.slot[pair]
    point = screen.directions()[tile, ray] * hits.depth[pair, ray][:, None]
    ours = hits.normal(pair, point).double().numpy() @ axes[0].double().numpy().T

    row = tile // screen.tiles * TILE + ray // TILE
    column = tile % screen.tiles * TILE + ray % TILE
    theirs = cast(solids, camera)
    at = (row * SIZE + column).numpy()
    inner = theirs.facing[at] > 0.3
    assert inner.sum() > 100
    cosine = (ours * theirs.normal[at]).sum(-1)[inner]
    # Faces of the icosphere lean up to 0.1 rad from the ball's normal, more once the ball is flattened.
    assert (cosine > (0.999999 if kind == "box" else 0.97)).mean() > 0.995
    assert np.median(cosine) > 0.995
    np.testing.assert_allclose(np.linalg.norm(ours, axis=-1), 1, atol=1e-5)
