"""Extraction of a smooth closed surface from the density of a field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from skimage.measure import marching_cubes
from torch import Tensor

from core.errors import UserError

if TYPE_CHECKING:
    from dream3d.nerf.radiance_fields import RadianceField

COARSE = 64  # samples along the longest side for the bounding box of the object
CHUNK = 1 << 18  # points per evaluation of the field


class DensityGrid(NamedTuple):
    """Density at the nodes of a grid of cubes."""

    values: NDArray[np.float32]  # (X,Y,Z), 1/m
    low: NDArray[np.float64]  # (3,) world position of values[0, 0, 0]
    spacing: float  # m


def sample_density(field: RadianceField, level: float, resolution: int) -> DensityGrid:
    """The density of a field in a tight box around all points with at least `level`.

    resolution: number of nodes on the longest side of the box.
    Raises UserError when the density is below `level` everywhere.
    """
    low, high = (bound.detach().cpu().double().numpy() for bound in field.bounds)
    coarse = _sample(field, low, high, COARSE)
    dense = np.argwhere(coarse.values >= level)
    if not len(dense):
        raise UserError(f"There is no object to mesh: the density does not reach {level:.3g} anywhere.")
    margin = 1.5  # cells: the object may extend beyond the coarse nodes
    first = coarse.low + (dense.min(0) - margin) * coarse.spacing
    last = coarse.low + (dense.max(0) + margin) * coarse.spacing
    return _sample(field, np.maximum(first, low), np.minimum(last, high), resolution)


def _sample(
    field: RadianceField, low: NDArray[np.floating], high: NDArray[np.floating], resolution: int
) -> DensityGrid:
    """The density in the box from `low` to `high`, with `resolution` nodes on its longest side."""
    spacing = float((high - low).max() / (resolution - 1))
    shape = np.floor((high - low) / spacing + 1e-6).astype(int) + 1
    start = low + ((high - low) - (shape - 1) * spacing) / 2
    axes = [torch.from_numpy(s + spacing * np.arange(n)).float() for s, n in zip(start, shape, strict=True)]
    points = torch.cartesian_prod(*axes)
    with torch.no_grad():
        values = torch.cat([field(part).density.float().cpu() for part in evaluate_in_chunks(points, field)])
    return DensityGrid(values.reshape(*map(int, shape)).numpy(), start, spacing)


def evaluate_in_chunks(points: Tensor, field: RadianceField) -> Iterator[Tensor]:
    """Splits points (M,3) into chunks on the field's device, to limit memory."""
    device = field.bounds[0].device
    return (part.to(device) for part in points.split(CHUNK))


def iso_surface(grid: DensityGrid, level: float) -> trimesh.Trimesh:
    """Marching cubes (Lewiner et al. 2003) at density `level`; outward winding, closed at the grid's sides.

    Raises UserError when no node of the grid is denser than the level.
    """
    if grid.values.max() <= level:
        raise UserError(f"There is no object to mesh: the density does not exceed {level:.3g} anywhere.")
    values = np.pad(grid.values.clip(0), 1)
    # The density rises from almost 0 to hundreds within one or two cells, so linear interpolation would put
    # the surface at the sides of cells and make steps. This function is 1/2 at the level and almost linear
    # across exponential edges.
    values = values / (values + level)
    vertices, faces, _, _ = marching_cubes(
        values, 0.5, spacing=(grid.spacing,) * 3, gradient_direction="ascent", allow_degenerate=False
    )  # "ascent" gives outward winding for values that are higher inside
    return trimesh.Trimesh(vertices + grid.low - grid.spacing, faces, process=False)


def keep_large_pieces(surface: trimesh.Trimesh, share: float) -> trimesh.Trimesh:
    """The surface without pieces of less than `share` of the volume of the largest piece.

    Hollows have a negative volume, so they are removed, which fills them.
    """
    labels = trimesh.graph.connected_component_labels(surface.edges_unique, len(surface.vertices))
    labels = labels[surface.faces[:, 0]]
    a, b, c = surface.triangles.transpose(1, 0, 2) - surface.bounds.mean(0)
    volumes = np.bincount(labels, (a * np.cross(b, c)).sum(1) / 6)
    large = volumes >= max(share, 1e-9) * volumes.max()
    remaining = trimesh.Trimesh(surface.vertices, surface.faces[large[labels]], process=False)
    remaining.remove_unreferenced_vertices()
    return remaining


def smooth(surface: trimesh.Trimesh, iterations: int) -> trimesh.Trimesh:
    """Taubin smoothing, which removes terraces and bumps without shrinking (Taubin 1995, pass band 0.01)."""
    # 1 / 0.5 - 1 / nu = 0.01
    return trimesh.smoothing.filter_taubin(surface.copy(), lamb=0.5, nu=1 / 1.99, iterations=iterations)
