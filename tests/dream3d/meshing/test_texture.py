"""The atlas has no overlaps, the texture no holes, and colors are volume-rendered near the surface."""

import numpy as np
import torch
from torch import Tensor

from dream3d.meshing.rasterizer import fragments
from dream3d.meshing.texturing.atlas import surface_colors


def test_charts_are_in_the_unit_square_and_do_not_overlap(smooth_ball) -> None:
    mesh = smooth_ball.extraction.mesh
    size = len(mesh.texture)
    assert size == 512
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    texels = fragments(mesh.uv[mesh.corners] * size, size, size)
    strictly = texels.weights.min(1) > 1e-4  # centers on a shared edge belong to both of its triangles
    counts = np.bincount(texels.pixel[strictly])
    assert counts.max() == 1 and counts.sum() > 0.35 * size * size


def test_uv_rows_belong_to_their_vertices(smooth_ball) -> None:
    mesh = smooth_ball.extraction.mesh
    assert (mesh.vertex_of_uv()[mesh.corners] == mesh.faces).all()


def test_texels_between_charts_have_the_color_of_the_nearest_chart(painted_ball) -> None:
    texture = painted_ball.extraction.mesh.texture.reshape(-1, 3)
    paints = {tuple(color) for color in texture.tolist()}
    assert (0, 0, 0) not in paints  # no texel is empty
    assert {(255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)} <= paints


def test_colors_are_those_behind_a_faint_edge(field_of) -> None:
    """Solid red under a thin blue haze looks red; the haze alone looks blue."""

    def color(points: Tensor) -> Tensor:
        inside = (points[:, :1] < 0).float()
        return inside * torch.tensor([1.0, 0, 0]) + (1 - inside) * torch.tensor([0, 0, 1.0])

    point, normal = np.array([[0.03, 1.0, 0.0]], np.float32), np.array([[1.0, 0, 0]], np.float32)
    solid = field_of(lambda points: torch.where(points[:, 0] < 0, 400.0, 1.0), color)
    red = surface_colors(solid, point, normal, 0.12)[0]
    assert red[0] > 240 and red[2] < 15
    haze = field_of(lambda points: torch.where(points[:, 0] < 0, 0.0, 1.0), color)
    assert surface_colors(haze, point, normal, 0.12)[0].tolist() == [0, 0, 255]
