"""Which density is the surface: the one whose mesh covers what the field covers."""

from typing import NamedTuple

import numpy as np
import trimesh
from numpy.typing import NDArray

from core.errors import UserError
from dream3d.meshing.rasterizer import silhouettes
from dream3d.meshing.surface import DensityGrid, iso_surface, keep_large_pieces
from dream3d.nerf.cameras import Cameras

SOLID = 0.95  # quantile of the dense nodes; the highest candidate is half of it


class IsoLevel(NamedTuple):
    density: float  # 1/m
    iou: float  # of its mesh's silhouettes and the field's


def faintest_level(size: float) -> float:
    """The density of which `size` meters are half opaque: what is thinner is air."""
    return float(np.log(2) / size)


def candidate_levels(grid: DensityGrid, faintest: float, count: int) -> NDArray[np.float64]:
    """`count` densities in equal ratios, from the faintest to half of what the inside has.

    Raises UserError when nothing in the grid is as dense as `faintest`.
    """
    dense = grid.values[grid.values > faintest]
    if not len(dense):
        raise UserError(
            f"There is no object to make a mesh of: nowhere does the density exceed {faintest:.3g}."
        )
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
    rated = []
    for level in levels:
        surface: trimesh.Trimesh = keep_large_pieces(iso_surface(grid, level), share)
        shown = silhouettes(surface.vertices, surface.faces, cameras, covered.shape[-1])
        rated.append(IsoLevel(float(level), mask_iou(shown, covered)))
    return max(rated, key=lambda level: (level.iou, level.density))


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks of one shape; 1 for two that are empty."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0
