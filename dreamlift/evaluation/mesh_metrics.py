"""What a mesh is worth beside the true object: silhouettes, colors, sides, volume and surface."""

from __future__ import annotations

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.spatial import KDTree

from dream3d.meshing.iso_level import mask_iou
from dream3d.meshing.mesh import Mesh
from dream3d.meshing.preview import render_mesh
from dream3d.meshing.rasterizer import fragments
from dream3d.nerf.cameras import orbit_cameras

VIEWS, SIZE = 8, 64  # azimuths at which pictures are compared, pixels
GRAY = 0.75  # behind what is compared
VOXELS = 64  # along the longest side, for the volume
POINTS = 4000  # on each surface, for the Chamfer distance


class ObjectMeasures(BaseModel):
    """A mesh against the true one."""

    model_config = ConfigDict(frozen=True)

    silhouette_iou: float  # mean over 8 azimuths
    psnr: float  # dB, over all pixels of the 8 views
    own_azimuths: int  # of 8 views, how many are nearest to the truth's view from the same side
    volume_iou: float  # after alignment
    chamfer: float  # world units, mean of both directions, after alignment


def measure(mesh: Mesh, truth: Mesh) -> ObjectMeasures:
    """Compares two meshes in the world's canonical place; alignment is a similarity found by ICP."""
    cameras = orbit_cameras(VIEWS)
    mine, true = (render_mesh(each, cameras, SIZE, background=GRAY) for each in (mesh, truth))
    ious = [mask_iou(one > 0.5, other > 0.5) for one, other in zip(mine.opacity, true.opacity, strict=True)]
    apart = np.square(mine.color[:, None] - true.color[None]).mean((2, 3, 4))
    aligned = _aligned(mesh, truth)
    return ObjectMeasures(
        silhouette_iou=float(np.mean(ious)),
        psnr=float(-10 * np.log10(max(np.diagonal(apart).mean(), 1e-10))),
        own_azimuths=int((apart.argmin(1) == np.arange(VIEWS)).sum()),
        volume_iou=volume_iou(aligned, truth.surface()),
        chamfer=chamfer(aligned, truth.surface()),
    )


def _aligned(mesh: Mesh, truth: Mesh) -> trimesh.Trimesh:
    """The mesh's surface moved, turned and scaled as a whole to lie best on the true one."""
    surface = mesh.surface()
    mine, true = (_on(each) for each in (surface, truth.surface()))
    matrix, _, _ = trimesh.registration.icp(mine, true, max_iterations=30, reflection=False, scale=True)
    return surface.apply_transform(matrix)


def _on(surface: trimesh.Trimesh) -> NDArray[np.float64]:
    """(POINTS,3) evenly on a surface, the same ones every time."""
    return np.asarray(trimesh.sample.sample_surface(surface, POINTS, seed=0)[0])


def chamfer(first: trimesh.Trimesh, second: trimesh.Trimesh) -> float:
    """Mean distance from points of one surface to the nearest of the other, mean of both directions."""
    one, other = _on(first), _on(second)
    return float((KDTree(one).query(other)[0].mean() + KDTree(other).query(one)[0].mean()) / 2)


def volume_iou(first: trimesh.Trimesh, second: trimesh.Trimesh) -> float:
    """Intersection over union of what two closed surfaces enclose, on a common grid of cubes."""
    low = np.minimum(first.bounds[0], second.bounds[0])
    high = np.maximum(first.bounds[1], second.bounds[1])
    spacing = float((high - low).max()) / VOXELS
    one, other = (solid(surface, low, spacing) for surface in (first, second))
    return float((one & other).sum() / max(1, (one | other).sum()))


def solid(surface: trimesh.Trimesh, low: NDArray, spacing: float) -> NDArray[np.bool_]:
    """(VOXELS+1,)*3 in the order x, y, z: which cubes' centers a closed surface encloses.

    Every column along z is cut by the surface's triangles; between an odd cut and the next one is inside.
    """
    count = VOXELS + 1
    place = (np.asarray(surface.vertices) - low) / spacing
    corners = place[np.asarray(surface.faces)]
    found = fragments(corners[:, :, [1, 0]], count, count)  # rows are x, columns are y
    height = (found.weights * corners[found.face][:, :, 2]).sum(1)
    # A column through a shared edge meets both triangles: cuts at one height count once.
    cuts = np.unique(np.stack([found.pixel, np.round(height, 6)], 1), axis=0)
    crossed = np.zeros((count * count, count + 1), np.int64)
    np.add.at(crossed, (cuts[:, 0].astype(int), np.ceil(cuts[:, 1] - 0.5).clip(0, count).astype(int)), 1)
    inside = crossed.cumsum(1)[:, :count] % 2 == 1
    return inside.reshape(count, count, count)


def pictures_for_a_judge(mesh: Mesh, textureless: bool) -> torch.Tensor:
    """(5,3,64,64) in [-1, 1]: the mesh from 90 degrees right of its front to 90 left, over light blue.

    textureless: gray under a light, so that only the shape is seen.
    """
    from core.toybox.backdrops import BACKDROPS

    (place,) = (b for b in BACKDROPS if b.short_name == "light blue")
    cameras = orbit_cameras(VIEWS)[torch.tensor([6, 7, 0, 1, 2])]
    if textureless:
        from dataclasses import replace

        mesh = replace(mesh, texture=np.full_like(mesh.texture, 200))
    shown = render_mesh(mesh, cameras, SIZE, light=textureless, background=place.ground)
    return torch.from_numpy(shown.color).permute(0, 3, 1, 2) * 2 - 1
