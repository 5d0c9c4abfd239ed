"""Projection of images onto a texture: a painted ball whose colors are known everywhere."""

import numpy as np
import pytest
import torch
import trimesh

from dream3d.meshing.mesh import Mesh
from dream3d.meshing.projection import project_images
from dream3d.meshing.rasterizer import rasterize
from dream3d.meshing.texture import Atlas, texels, unwrap
from dream3d.nerf.cameras import Cameras, orbit_cameras
from dream3d.optimization.backgrounds import ToyboxLight

SIZE, CENTER = 128, np.array([0.0, 1.0, 0.0])


def paint(points: np.ndarray) -> np.ndarray:
    """Colors (K,3) in [0.2,0.8] of points: a pattern far finer than vertices, far coarser than pixels."""
    phase = 9 * (points - CENTER) + np.array([0.0, 1.0, 2.0])
    return 0.5 + 0.3 * np.sin(phase)


@pytest.fixture(scope="module")
def ball() -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=0.8)
    vertices = (sphere.vertices + CENTER).astype(np.float32)
    normals, faces = sphere.vertex_normals.astype(np.float32), sphere.faces.astype(np.int32)
    atlas = unwrap(vertices, normals, faces, 256)
    gray = np.full((256, 256, 3), 128, np.uint8)
    return Mesh(
        vertices, normals, np.full((len(vertices), 3), 128, np.uint8), faces, atlas.uv, atlas.corners, gray
    )


def photograph(ball: Mesh, cameras: Cameras, light: bool) -> torch.Tensor:
    """Images (N,3,SIZE,SIZE) of the painted ball, from its rasterized surface, on black."""
    images = []
    eyes = cameras.to_numpy()[0]
    for number, surface in enumerate(rasterize(ball.vertices, ball.faces, cameras, SIZE)):
        hit = surface.face >= 0
        corners = ball.faces[surface.face[hit]]
        points = np.einsum("kc,kcd->kd", surface.weights[hit], ball.vertices[corners])
        normals = np.einsum("kc,kcd->kd", surface.weights[hit], ball.normals[corners])
        color = paint(points)
        if light:
            direction = points - eyes[number]
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            arrays = (torch.from_numpy(a).float() for a in (color, normals, points, direction))
            color = ToyboxLight(cameras)(*arrays, torch.full((len(points),), number)).numpy()
        image = np.zeros((SIZE, SIZE, 3))
        image[hit] = color
        images.append(torch.from_numpy(image).permute(2, 0, 1).float())
    return torch.stack(images)


def texture_error(mesh: Mesh, reach: float) -> float:
    """Mean absolute error of the texture, of 1, over texels less than `reach` above or below the center."""
    points = texels(mesh.vertices, mesh.normals, mesh.faces, Atlas(mesh.uv, mesh.corners), 256)
    chosen = np.abs(points.point[:, 1] - 1) < reach
    color = mesh.texture.reshape(-1, 3)[points.texel] / 255
    return float(np.abs(color - paint(points.point))[chosen].mean())


@pytest.mark.parametrize("light", [False, True])
def test_the_texture_becomes_what_the_images_show(ball: Mesh, light: bool) -> None:
    cameras = orbit_cameras(10, 15.0)
    images = photograph(ball, cameras, light)
    refined = project_images(ball, images, cameras, ToyboxLight(cameras) if light else None)
    assert texture_error(ball, 0.4) > 0.15
    assert texture_error(refined, 0.4) < 0.03
    if light:
        assert texture_error(project_images(ball, images, cameras), 0.4) > 2 * texture_error(refined, 0.4)


def test_what_no_image_sees_keeps_its_color(ball: Mesh) -> None:
    cameras = orbit_cameras([0.0], 0.0)
    refined = project_images(ball, photograph(ball, cameras, False), cameras)
    points = texels(ball.vertices, ball.normals, ball.faces, Atlas(ball.uv, ball.corners), 256)
    behind = points.point[:, 2] < -0.05
    color = refined.texture.reshape(-1, 3)[points.texel]
    assert (color[behind] == 128).all()
    front = points.point[:, 2] > 0.6
    assert np.abs(color[front] / 255 - paint(points.point[front])).mean() < 0.03
    assert np.array_equal(refined.vertices, ball.vertices) and np.array_equal(refined.uv, ball.uv)


def test_a_part_in_front_does_not_paint_what_is_behind_it(ball: Mesh) -> None:
    """A small ball before the large one: the large one keeps its own color in its shadow."""
    shift = np.array([0.0, 0.0, 1.4], np.float32)
    small = 0.3 * (ball.vertices - CENTER.astype(np.float32)) + CENTER.astype(np.float32) + shift
    count, rows = len(ball.vertices), len(ball.uv)
    both = Mesh(
        np.concatenate([ball.vertices, small]),
        np.concatenate([ball.normals] * 2),
        np.concatenate([ball.colors] * 2),
        np.concatenate([ball.faces, ball.faces + count]),
        np.concatenate([ball.uv * [0.5, 1], ball.uv * [0.5, 1] + [0.5, 0]]).astype(np.float32),
        np.concatenate([ball.corners, ball.corners + rows]),
        ball.texture,
    )
    cameras = orbit_cameras([0.0], 0.0)
    images = torch.zeros(1, 3, SIZE, SIZE)
    images[:, 0] = 1.0  # a red image
    refined = project_images(both, images, cameras)
    points = texels(both.vertices, both.normals, both.faces, Atlas(both.uv, both.corners), 256)
    color, point = refined.texture.reshape(-1, 3)[points.texel], points.point
    radius = np.hypot(point[:, 0], point[:, 1] - 1)
    hidden = (point[:, 2] > 0.5) & (point[:, 2] < 0.9) & (radius < 0.15)
    seen = (point[:, 2] > 0.3) & (point[:, 2] < 0.6) & (radius > 0.45) & (radius < 0.6)
    assert hidden.any() and (color[hidden] == 128).all()
    assert (color[seen][:, 0] > 235).all() and (color[seen][:, 1] < 20).all()
