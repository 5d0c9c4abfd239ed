"""Choice of the density of the surface: the iso level whose silhouettes match those of the field."""

from typing import NamedTuple

import numpy as np
import trimesh
from numpy.typing import NDArray

from core.errors import UserError
from dream3d.meshing.rasterizer import mask_iou, silhouettes
from dream3d.meshing.surface import DensityGrid, iso_surface, keep_large_pieces
from dream3d.nerf.cameras import Cameras

SOLID = 0.95  # the highest candidate is half of this quantile of the dense nodes


class IsoLevel(NamedTuple):
    """A density of the surface and how well it fits."""

    density: float  # 1/m
    iou: float  # between silhouettes of its mesh and of the field


def faintest_level(size: float) -> float:
    """The density at which `size` meters have opacity 1/2; lower densities count as empty."""
    return float(np.log(2) / size)


def candidate_levels(grid: DensityGrid, faintest: float, count: int) -> NDArray[np.float64]:
    """`count` densities in geometric progression, from `faintest` to half of the density inside the object.

    Raises UserError when no node of the grid is denser than `faintest`.
    """
    dense = grid.values[grid.values > faintest]
    if not len(dense):
        raise UserError(f"There is no object to mesh: the density does not exceed {faintest:.3g} anywhere.")
    return np.geomspace(faintest, max(faintest, 0.5 * float(np.quantile(dense, SOLID))), count)


def choose_level(
    grid: DensityGrid,
    levels: NDArray[np.floating],
    share: float,
    cameras: Cameras,
    covered: NDArray[np.bool_],
) -> IsoLevel:
    """The candidate whose silhouettes best match `covered`; of equally good candidates the densest.

    share: as in `keep_large_pieces`.
    covered: (N,H,H) silhouettes of the field in the N cameras.
    """
    candidates = []
    for level in levels:
        surface: trimesh.Trimesh = keep_large_pieces(iso_surface(grid, level), share)
        masks = silhouettes(surface.vertices, surface.faces, cameras, covered.shape[-1])
        candidates.append(IsoLevel(float(level), mask_iou(masks, covered)))
    return max(candidates, key=lambda level: (level.iou, level.density))
