"""Texture atlas of a surface, and baking of a field's colors into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import xatlas
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch.nn.functional import normalize

from dream3d.meshing.rasterizer import fragments
from dream3d.meshing.surface import evaluate_in_chunks

if TYPE_CHECKING:
    from dream3d.nerf.radiance_fields import RadianceField

PADDING = 4  # texels between charts; slightly less after the atlas is scaled to the texture
CHARTS = 100  # charts are limited to 1/100 of the surface: flattening time grows faster than chart size
SAMPLES = 6  # samples along the ray into the surface


class Atlas(NamedTuple):
    """A UV atlas of a surface."""

    uv: NDArray[np.float32]  # (T,2) in [0,1], origin in the top left corner
    corners: NDArray[np.int32]  # (F,3) rows of `uv` for each face of the surface


class Texels(NamedTuple):
    """Texels of a texture with the surface that they show."""

    texel: NDArray[np.int64]  # (K,) row * size + column
    point: NDArray[np.floating]  # (K,3) world
    normal: NDArray[np.floating]  # (K,3) interpolated, about unit


def unwrap(
    vertices: NDArray[np.float32], normals: NDArray[np.float32], faces: NDArray[np.int32], size: int
) -> Atlas:
    """UV atlas without overlapping charts for a texture of size x size texels, by xatlas."""
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices, faces.astype(np.uint32), normals)
    a, b, c = vertices[faces].transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    charting = xatlas.ChartOptions()
    charting.max_chart_area = float(area / CHARTS)
    packing = xatlas.PackOptions()
    packing.resolution = size
    packing.padding = PADDING
    atlas.generate(charting, packing)
    _, corners, uv = atlas.get_mesh(0)
    return Atlas(uv.astype(np.float32).clip(0, 1), corners.astype(np.int32))


def bake(
    field: RadianceField,
    vertices: NDArray[np.float32],
    normals: NDArray[np.float32],
    faces: NDArray[np.int32],
    atlas: Atlas,
    size: int,
    depth: float,
) -> NDArray[np.uint8]:
    """Texture (size,size,3) with the field's colors on the surface; `depth` is as in `surface_colors`.

    Texels outside all charts take the color of the nearest texel inside one.
    """
    points = texels(vertices, normals, faces, atlas, size)
    texture = np.zeros((size * size, 3), np.uint8)
    covered = np.zeros(size * size, bool)
    texture[points.texel] = surface_colors(field, points.point, points.normal, depth)
    covered[points.texel] = True
    return fill(texture.reshape(size, size, 3), covered.reshape(size, size))


def texels(
    vertices: NDArray[np.float32],
    normals: NDArray[np.float32],
    faces: NDArray[np.int32],
    atlas: Atlas,
    size: int,
) -> Texels:
    """The texels inside the charts of a texture of size x size texels, with their places on the surface."""
    inside = fragments(atlas.uv[atlas.corners] * size, size, size)
    point, normal = (
        np.einsum("kc,kcd->kd", inside.weights, of[faces[inside.face]]) for of in (vertices, normals)
    )
    # A thin chart may cover no texel center; the texels at its corners are then colored instead.
    column, row = (atlas.uv[atlas.corners.ravel()] * size).astype(int).clip(0, size - 1).T
    corner = row * size + column
    uncovered = np.ones(size * size, bool)
    uncovered[inside.pixel] = False
    thin = uncovered[corner]
    return Texels(
        np.concatenate([inside.pixel, corner[thin]]),
        np.concatenate([point, vertices[faces.ravel()[thin]]]),
        np.concatenate([normal, normals[faces.ravel()[thin]]]),
    )


def fill(texture: NDArray[np.uint8], covered: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The texture (S,S,3) whose texels that are not covered (S,S) take the color of the nearest that is."""
    row, column = np.asarray(distance_transform_edt(~covered, return_distances=False, return_indices=True))
    return texture[row, column]


def surface_colors(
    field: RadianceField, points: NDArray[np.floating], normals: NDArray[np.floating], depth: float
) -> NDArray[np.uint8]:
    """Colors, sRGB (M,3), of rays that enter the field at surface points (M,3) against their normals.

    The color is volume-rendered over the first `depth` meters and divided by its opacity. The field's color
    at the surface itself can be arbitrary, because the density there contributes little to any render.
    """
    step = depth / SAMPLES
    distance = step * (torch.arange(SAMPLES) + 0.5)[:, None]
    direction = -normalize(torch.from_numpy(normals).float(), dim=1)
    start = torch.from_numpy(np.ascontiguousarray(points)).float()
    points_inside = (start[:, None] + direction[:, None] * distance).reshape(-1, 3)  # (M*SAMPLES,3)
    with torch.no_grad():
        values = [field(part) for part in evaluate_in_chunks(points_inside, field)]
    density = torch.cat([v.density.float().cpu() for v in values]).reshape(-1, SAMPLES)
    color = torch.cat([v.color.float().cpu() for v in values]).reshape(-1, SAMPLES, 3)
    clear = torch.exp(-density.clamp(min=0) * step)
    transmittance = torch.cumprod(torch.cat([torch.ones_like(clear[:, :1]), clear[:, :-1]], 1), 1)
    weight = transmittance * (1 - clear) + 1e-6  # equal weights where all is transparent
    rendered = (weight[..., None] * color).sum(1) / weight.sum(1, keepdim=True)
    return (rendered.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
