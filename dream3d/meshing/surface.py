"""From a field's density to a smooth closed surface."""

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

COARSE = 64  # samples along the longest side when looking for what is dense
CHUNK = 1 << 18  # points in one call of the field


class DensityGrid(NamedTuple):
    """Density at the nodes of a grid of cubes."""

    values: NDArray[np.float32]  # (X,Y,Z), 1/m
    low: NDArray[np.float64]  # (3,) world position of values[0, 0, 0]
    spacing: float  # m


def sample_density(field: RadianceField, level: float, resolution: int) -> DensityGrid:
    """The field's density in a tight box round all that has at least `level`.

    `resolution` nodes stand on the box's longest side. Raises UserError when nothing is as dense.
    """
    low, high = (bound.detach().cpu().double().numpy() for bound in field.bounds)
    coarse = _sample(field, low, high, COARSE)
    dense = np.argwhere(coarse.values >= level)
    if not len(dense):
        raise UserError(f"There is no object to make a mesh of: nowhere does the density reach {level:.3g}.")
    margin = 1.5  # cells: the coarse nodes may have missed a little
    first = coarse.low + (dense.min(0) - margin) * coarse.spacing
    last = coarse.low + (dense.max(0) + margin) * coarse.spacing
    return _sample(field, np.maximum(first, low), np.minimum(last, high), resolution)


def _sample(field: RadianceField, low: NDArray, high: NDArray, resolution: int) -> DensityGrid:
    spacing = float((high - low).max() / (resolution - 1))
    shape = np.floor((high - low) / spacing + 1e-6).astype(int) + 1
    start = low + ((high - low) - (shape - 1) * spacing) / 2
    axes = [torch.from_numpy(s + spacing * np.arange(n)).float() for s, n in zip(start, shape, strict=True)]
    points = torch.cartesian_prod(*axes)
    with torch.no_grad():
        values = torch.cat([field(part).density.float().cpu() for part in evaluate_in_chunks(points, field)])
    return DensityGrid(values.reshape(*map(int, shape)).numpy(), start, spacing)


def evaluate_in_chunks(points: Tensor, field: RadianceField) -> Iterator[Tensor]:
    """Points (M,3) in pieces the field can take at once, on its device."""
    device = field.bounds[0].device
    return (part.to(device) for part in points.split(CHUNK))


def iso_surface(grid: DensityGrid, level: float) -> trimesh.Trimesh:
    """Marching cubes (Lewiner et al. 2003) at density `level`; closed at the grid's sides, outward winding.

    Raises UserError when the grid's density does not reach the level.
    """
    if grid.values.max() <= level:
        raise UserError(f"There is no object to make a mesh of: nowhere does the density exceed {level:.3g}.")
    values = np.pad(grid.values.clip(0), 1)
    # Density grows from almost nothing to hundreds within a cell or two: linear interpolation would put the
    # surface at the cells' sides, in steps. This form is 1/2 at the level and straight for exponential edges.
    values = values / (values + level)
    vertices, faces, _, _ = marching_cubes(
        values, 0.5, spacing=(grid.spacing,) * 3, gradient_direction="ascent", allow_degenerate=False
    )  # "ascent" winds outward here, whatever its name
    return trimesh.Trimesh(vertices + grid.low - grid.spacing, faces, process=False)


def keep_large_pieces(surface: trimesh.Trimesh, share: float) -> trimesh.Trimesh:
    """The surface without the pieces that enclose less than `share` of the largest one's volume.

    Hollows inside enclose a negative volume and are filled thereby.
    """
    labels = trimesh.graph.connected_component_labels(surface.edges_unique, len(surface.vertices))
    labels = labels[surface.faces[:, 0]]
    a, b, c = surface.triangles.transpose(1, 0, 2) - surface.bounds.mean(0)
    volumes = np.bincount(labels, (a * np.cross(b, c)).sum(1) / 6)
    large = volumes >= max(share, 1e-9) * volumes.max()
    kept = trimesh.Trimesh(surface.vertices, surface.faces[large[labels]], process=False)
    kept.remove_unreferenced_vertices()
    return kept


def smooth(surface: trimesh.Trimesh, iterations: int) -> trimesh.Trimesh:
    """Without terraces and bumps, and without shrinking (Taubin 1995, pass band 0.01)."""
    # 1 / 0.5 - 1 / nu = 0.01
    return trimesh.smoothing.filter_taubin(surface.copy(), lamb=0.5, nu=1 / 1.99, iterations=iterations)
