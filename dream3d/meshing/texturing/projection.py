"""Texture of a mesh from images of it: what the images show is projected onto the texels that they see.

Richardson et al. 2023, "TEXTure: Text-Guided Texturing of 3D Shapes", section 3, without its inpainting:
every texel has a color already, and images only refine it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, map_coordinates, minimum_filter
from torch import Tensor

from dream3d.meshing.mesh import Mesh
from dream3d.meshing.rasterizer import project, rasterize
from dream3d.meshing.texturing.atlas import Atlas, Texels, fill, texels
from dream3d.nerf.cameras import Cameras
from dream3d.nerf.volume_rendering import Shader

MARGIN = 3  # pixels from an outline within which an image is not used: colors of the background bleed there
TOLERANCE = 0.06  # world units between a texel and the visible surface at its pixel
STEP = 0.15  # world units in depth between neighboring pixels that are of different parts
POWER = 6  # of the cosine to the view in the weights: the most frontal view decides
BASE = 0.005  # weight of the color that a texel has already
DIMMEST = 0.25  # light below which a surface's color cannot be recovered


def project_images(mesh: Mesh, images: Tensor, cameras: Cameras, shader: Shader | None = None) -> Mesh:
    """The mesh with its texture refined by images (N,3,S,S) in [0,1] of it, from N cameras.

    shader: light of the images, whose effect is removed; it must be affine in the color. None: the images
        show the surface's own colors.
    """
    size = mesh.texture.shape[0]
    points = texels(mesh.vertices, mesh.normals, mesh.faces, Atlas(mesh.uv, mesh.corners), size)
    base = mesh.texture.reshape(-1, 3)[points.texel].astype(np.float64) / 255
    total, weights = BASE * base, np.full((len(base), 1), BASE)
    views = zip(
        *cameras.to_numpy(), rasterize(mesh.vertices, mesh.faces, cameras, images.shape[-1]), strict=True
    )
    for number, (eye, axes, field_of_view, surface) in enumerate(views):
        view = (eye, axes, field_of_view)
        seen, weight, color = _colors(points, images[number], view, surface.depth)
        if shader and len(seen):
            color, weight = _unlit(points, seen, color, weight, shader, eye, number)
        total[seen] += weight * color
        weights[seen] += weight
    texture = np.zeros((size * size, 3), np.uint8)
    texture[points.texel] = (total / weights * 255).round().clip(0, 255)
    covered = np.zeros(size * size, bool)
    covered[points.texel] = True
    return replace(mesh, texture=fill(texture.reshape(size, size, 3), covered.reshape(size, size)))


def _colors(
    points: Texels,
    image: Tensor,
    view: tuple[NDArray[np.float64], NDArray[np.float64], np.float64],
    depth: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Indices (K,) of the texels that a view sees, their weights (K,1) and colors (K,3)."""
    eye, axes, field_of_view = view
    size = depth.shape[0]
    to_eye = eye - points.point
    to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
    facing = (points.normal * to_eye).sum(1)
    place, distance = project(points.point, eye, axes, float(field_of_view), size)
    column, row = (place - 0.5).T
    # Pixels beside the background, or beside a part in front of them, have mixed colors.
    covered = np.isfinite(depth)
    inside = np.asarray(distance_transform_edt(covered)) > MARGIN
    inside &= np.where(covered, depth, 0) < minimum_filter(depth, 2 * MARGIN - 1) + STEP
    pixel = tuple(np.stack([row, column]).round().astype(int).clip(0, size - 1))
    visible = inside[pixel] & (distance < depth[pixel] + TOLERANCE) & (facing > 0)
    seen = np.flatnonzero(visible)
    channels = image.cpu().double().numpy()
    where = np.stack([row[seen], column[seen]])
    color = np.stack([map_coordinates(channel, where, order=1, mode="nearest") for channel in channels], 1)
    return seen, facing[seen, None] ** POWER, color


def _unlit(
    points: Texels,
    seen: NDArray[np.int64],
    color: NDArray[np.float64],
    weight: NDArray[np.float64],
    shader: Shader,
    eye: NDArray[np.float64],
    camera: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colors (K,3) without the light, and weights (K,1) that are zero where there is too little of it."""
    point, normal = (torch.from_numpy(values[seen]).float() for values in (points.point, points.normal))
    direction = torch.nn.functional.normalize(point - torch.from_numpy(eye).float(), dim=1)
    index = torch.full((len(seen),), camera)

    def lit(value: float) -> NDArray[np.float64]:
        gray = torch.full_like(point, value)
        return shader(gray, normal, point, direction, index).cpu().double().numpy()

    added = lit(0.0)
    factor = 2 * (lit(0.5) - added)
    albedo = (color - added) / factor.clip(DIMMEST)
    return albedo.clip(0, 1), weight * (factor.min(1, keepdims=True) > DIMMEST)
