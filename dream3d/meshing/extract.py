"""Extraction of a textured mesh from a radiance field."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Bounded

from dream3d.meshing.decimate import decimate
from dream3d.meshing.iso_level import IsoLevel, candidate_levels, choose_level, faintest_level
from dream3d.meshing.mesh import Mesh
from dream3d.meshing.surface import iso_surface, keep_large_pieces, sample_density, smooth
from dream3d.meshing.texturing.atlas import bake, surface_colors, unwrap
from dream3d.nerf.cameras import Cameras

if TYPE_CHECKING:
    from dream3d.nerf.radiance_fields import RadianceField

DRAFT = 96  # grid nodes on the longest side for the choice of the iso level
SKIN = 3.0  # depth in grid cells over which surface colors are rendered


class MeshOptions(BaseModel):
    """Options of mesh extraction."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resolution: int = Bounded(default=128, ge=16, le=512)  # nodes of the density grid on its longest side
    levels: int = Bounded(default=24, ge=1, le=64)  # candidate densities of the surface
    share: float = Bounded(
        default=0.02, ge=0, le=1
    )  # of the largest piece's volume; smaller pieces are dropped
    smoothing: int = Bounded(default=100, ge=0, le=1000)  # Taubin steps
    faces: int = Bounded(default=30_000, ge=100, le=50_000)  # at most
    texture: int = Bounded(default=1024, ge=64, le=4096)  # texels on a side


class Extraction(NamedTuple):
    """A mesh and the iso level of its surface."""

    mesh: Mesh
    iso_level: IsoLevel


def extract_mesh(
    field: RadianceField, cameras: Cameras, covered: NDArray[np.bool_], options: MeshOptions | None = None
) -> Extraction:
    """The mesh of a field, at the level whose silhouettes best match those of the field.

    covered: (N,H,H) silhouettes of the field in the N cameras.
    Deterministic. Raises UserError when the field is empty.
    """
    options = options or MeshOptions()
    low, high = field.bounds
    faintest = faintest_level(float((high - low).max()))
    draft = sample_density(field, faintest, DRAFT)
    levels = candidate_levels(draft, faintest, options.levels)
    level = choose_level(draft, levels, options.share, cameras, covered)

    grid = sample_density(field, level.density, options.resolution)
    surface = keep_large_pieces(iso_surface(grid, level.density), options.share)
    surface = decimate(smooth(surface, options.smoothing), options.faces)
    surface = keep_large_pieces(surface, options.share)  # decimation may have split thin necks
    vertices = np.asarray(surface.vertices, np.float32)
    normals = np.asarray(surface.vertex_normals, np.float32)
    faces = np.asarray(surface.faces, np.int32)

    depth = SKIN * grid.spacing
    atlas = unwrap(vertices, normals, faces, options.texture)
    texture = bake(field, vertices, normals, faces, atlas, options.texture, depth)
    colors = surface_colors(field, vertices, normals, depth)
    return Extraction(Mesh(vertices, normals, colors, faces, atlas.uv, atlas.corners, texture), level)
