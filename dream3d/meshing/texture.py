"""The atlas of a surface and its texture, baked from a field."""

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

PADDING = 4  # texels between charts; a little less after the atlas is fitted into the texture
CHARTS = 100  # no chart is larger than this part of the surface: the time to flatten one grows faster than it
SAMPLES = 6  # densities and colors on the way in from a point of the surface


class Atlas(NamedTuple):
    """A flat map of a surface."""

    uv: NDArray[np.float32]  # (T,2) in [0,1], from the top left corner
    corners: NDArray[np.int32]  # (F,3) rows of `uv`, for the same faces in the same order


def unwrap(
    vertices: NDArray[np.float32], normals: NDArray[np.float32], faces: NDArray[np.int32], size: int
) -> Atlas:
    """Charts without overlap, laid out by xatlas for a texture of size x size texels."""
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
    """The field's colors on the surface as a texture (size,size,3); `depth` as in `surface_colors`.

    Texels of no chart take the color of the nearest one of some.
    """
    found = fragments(atlas.uv[atlas.corners] * size, size, size)
    point, normal = (
        np.einsum("kc,kcd->kd", found.weights, of[faces[found.face]]) for of in (vertices, normals)
    )
    texture = np.zeros((size * size, 3), np.uint8)
    covered = np.zeros(size * size, bool)
    # A chart may be so thin that it covers no texel's center: its corners then color the texels they lie in.
    column, row = (atlas.uv[atlas.corners.ravel()] * size).astype(int).clip(0, size - 1).T
    corner = row * size + column
    lonely = np.ones(size * size, bool)
    lonely[found.pixel] = False
    thin = lonely[corner]
    point = np.concatenate([point, vertices[faces.ravel()[thin]]])
    normal = np.concatenate([normal, normals[faces.ravel()[thin]]])
    texel = np.concatenate([found.pixel, corner[thin]])
    texture[texel] = surface_colors(field, point, normal, depth)
    covered[texel] = True
    empty = ~covered.reshape(size, size)
    row, column = np.asarray(distance_transform_edt(empty, return_distances=False, return_indices=True))
    return texture.reshape(size, size, 3)[row, column]


def surface_colors(
    field: RadianceField, points: NDArray[np.floating], normals: NDArray[np.floating], depth: float
) -> NDArray[np.uint8]:
    """What a ray sees that enters the field at surface points (M,3) against their normals: sRGB (M,3).

    Volume rendering over the first `depth` meters, as far as they are opaque. The surface's own
    color may be one that no render ever showed: the density there is a small part of that behind.
    """
    step = depth / SAMPLES
    inward = step * (torch.arange(SAMPLES) + 0.5)[:, None]
    direction = -normalize(torch.from_numpy(normals).float(), dim=1)
    start = torch.from_numpy(np.ascontiguousarray(points)).float()
    along = (start[:, None] + direction[:, None] * inward).reshape(-1, 3)  # (M*SAMPLES,3)
    with torch.no_grad():
        values = [field(part) for part in evaluate_in_chunks(along, field)]
    density = torch.cat([v.density.float().cpu() for v in values]).reshape(-1, SAMPLES)
    color = torch.cat([v.color.float().cpu() for v in values]).reshape(-1, SAMPLES, 3)
    clear = torch.exp(-density.clamp(min=0) * step)
    before = torch.cumprod(torch.cat([torch.ones_like(clear[:, :1]), clear[:, :-1]], 1), 1)
    weight = before * (1 - clear) + 1e-6  # where all is clear, all counts alike
    seen = (weight[..., None] * color).sum(1) / weight.sum(1, keepdim=True)
    return (seen.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
