"""Metrics of a mesh against the true object: silhouettes, colors, views, volume and surface."""

from __future__ import annotations

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.spatial import KDTree

from dream3d.meshing.mesh import Mesh
from dream3d.meshing.preview import render_mesh
from dream3d.meshing.rasterizer import fragments, mask_iou
from dream3d.nerf.cameras import orbit_cameras

VIEWS, SIZE = 8, 64  # number of azimuths, and side in pixels, of the renders that are compared
GRAY = 0.75  # background of the renders that are compared
VOXELS = 64  # along the longest side, for the volume IoU
POINTS = 4000  # sampled on each surface, for the Chamfer distance


class ObjectMeasures(BaseModel):
    """Metrics of a mesh against the true one."""

    model_config = ConfigDict(frozen=True)

    silhouette_iou: float  # mean over 8 azimuths
    psnr: float  # dB, over all pixels of the 8 views
    own_azimuths: int  # of 8 views, the number whose nearest true view has the same azimuth
    volume_iou: float  # after alignment
    chamfer: float  # world units, mean of both directions, after alignment


def measure(mesh: Mesh, truth: Mesh) -> ObjectMeasures:
    """Compares two meshes in canonical world coordinates.

    Volume IoU and Chamfer distance are computed after alignment by a similarity transform (ICP).
    """
    views = orbit_cameras(VIEWS)
    ours, true = (render_mesh(each, views, SIZE, background=GRAY) for each in (mesh, truth))
    ious = [mask_iou(one > 0.5, other > 0.5) for one, other in zip(ours.opacity, true.opacity, strict=True)]
    errors = np.square(ours.color[:, None] - true.color[None]).mean((2, 3, 4))
    aligned = _aligned(mesh, truth)
    return ObjectMeasures(
        silhouette_iou=float(np.mean(ious)),
        psnr=float(-10 * np.log10(max(np.diagonal(errors).mean(), 1e-10))),
        own_azimuths=int((errors.argmin(1) == np.arange(VIEWS)).sum()),
        volume_iou=volume_iou(aligned, truth.surface()),
        chamfer=chamfer(aligned, truth.surface()),
    )


def _aligned(mesh: Mesh, truth: Mesh) -> trimesh.Trimesh:
    """The mesh's surface after the similarity transform (ICP) that aligns it with the true one."""
    surface = mesh.surface()
    source, target = (_sample_points(each) for each in (surface, truth.surface()))
    matrix, _, _ = trimesh.registration.icp(source, target, max_iterations=30, reflection=False, scale=True)
    return surface.apply_transform(matrix)


def _sample_points(surface: trimesh.Trimesh) -> NDArray[np.float64]:
    """Points (POINTS,3) sampled uniformly on a surface with a fixed seed."""
    return np.asarray(trimesh.sample.sample_surface(surface, POINTS, seed=0)[0])


def chamfer(first: trimesh.Trimesh, second: trimesh.Trimesh) -> float:
    """Chamfer distance: mean distance to the nearest point of the other surface, mean of both directions."""
    one, other = _sample_points(first), _sample_points(second)
    return float((KDTree(one).query(other)[0].mean() + KDTree(other).query(one)[0].mean()) / 2)


def volume_iou(first: trimesh.Trimesh, second: trimesh.Trimesh) -> float:
    """Intersection over union of the volumes of two closed surfaces, on a common voxel grid."""
    low = np.minimum(first.bounds[0], second.bounds[0])
    high = np.maximum(first.bounds[1], second.bounds[1])
    spacing = float((high - low).max()) / VOXELS
    one, other = (solid(surface, low, spacing) for surface in (first, second))
    return float((one & other).sum() / max(1, (one | other).sum()))


def solid(surface: trimesh.Trimesh, low: NDArray[np.floating], spacing: float) -> NDArray[np.bool_]:
    """Occupancy grid (VOXELS+1,)*3 in the order x, y, z: the voxels whose centers a closed surface encloses.

    Triangles of the surface cut every column along z; voxels between an odd cut and the next are inside.

    low: corner of the grid (3,). spacing: side of a voxel. Both in world units.
    """
    count = VOXELS + 1
    positions = (np.asarray(surface.vertices) - low) / spacing
    corners = positions[np.asarray(surface.faces)]
    hits = fragments(corners[:, :, [1, 0]], count, count)  # rows are x, columns are y
    height = (hits.weights * corners[hits.face][:, :, 2]).sum(1)
    # A column through a shared edge meets both triangles: cuts at the same height count once.
    cuts = np.unique(np.stack([hits.pixel, np.round(height, 6)], 1), axis=0)
    crossed = np.zeros((count * count, count + 1), np.int64)
    np.add.at(crossed, (cuts[:, 0].astype(int), np.ceil(cuts[:, 1] - 0.5).clip(0, count).astype(int)), 1)
    inside = crossed.cumsum(1)[:, :count] % 2 == 1
    return inside.reshape(count, count, count)


def pictures_for_a_judge(mesh: Mesh, textureless: bool) -> torch.Tensor:
    """Renders (5,3,64,64) in [-1, 1] from 90 degrees right of the front to 90 left, before light blue.

    textureless: render in shaded gray, so that only the shape is visible.
    """
    from core.toybox.backdrops import BACKDROPS

    (backdrop,) = (b for b in BACKDROPS if b.short_name == "light blue")
    cameras = orbit_cameras(VIEWS)[torch.tensor([6, 7, 0, 1, 2])]
    if textureless:
        from dataclasses import replace

        mesh = replace(mesh, texture=np.full_like(mesh.texture, 200))
    renders = render_mesh(mesh, cameras, SIZE, light=textureless, background=backdrop.ground)
    return torch.from_numpy(renders.color).permute(0, 3, 1, 2) * 2 - 1
