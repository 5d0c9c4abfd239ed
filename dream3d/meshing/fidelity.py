"""How faithful a mesh is to the field it was made of, and what kind of surface it is."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from dream3d.meshing.iso_level import mask_iou
from dream3d.meshing.mesh import Mesh
from dream3d.meshing.preview import render_mesh
from dream3d.nerf.cameras import Cameras


class Fidelity(BaseModel):
    """A mesh against renders of its field."""

    model_config = ConfigDict(frozen=True)

    views: int
    psnr: float  # dB, over all pixels of all views
    worst_psnr: float  # dB, of the worst view
    silhouette_iou: float  # mean over the views
    worst_silhouette_iou: float


class SurfaceReport(BaseModel):
    """The surface of a mesh."""

    model_config = ConfigDict(frozen=True)

    faces: int
    vertices: int
    watertight: bool
    pieces: int
    largest_piece: float  # share of the enclosed volume
    volume: float  # m^3
    area: float  # m^2


def measure_fidelity(
    mesh: Mesh, cameras: Cameras, color: ArrayLike, covered: NDArray[np.bool_], background: ArrayLike = 1.0
) -> Fidelity:
    """The mesh against the field's renders by N cameras.

    color: (N,H,H,3) in [0,1] over `background`, albedo: the mesh is shown unlit.
    covered: (N,H,H), where there is something of the field.
    background: a gray or a color (3,).
    """
    wanted = np.asarray(color, np.float64)
    shown = render_mesh(mesh, cameras, wanted.shape[1], background=background)
    errors = np.square(shown.color - wanted).mean((1, 2, 3))
    ious = [mask_iou(mine > 0.5, theirs) for mine, theirs in zip(shown.opacity, covered, strict=True)]
    return Fidelity(
        views=len(wanted),
        psnr=_psnr(errors.mean()),
        worst_psnr=_psnr(errors.max()),
        silhouette_iou=float(np.mean(ious)),
        worst_silhouette_iou=float(np.min(ious)),
    )


def _psnr(error: float) -> float:
    """Of a mean square error of values in [0,1], at most 100 dB."""
    return -10 * math.log10(max(error, 1e-10))


def describe_surface(mesh: Mesh) -> SurfaceReport:
    """Counts and measures; a hollow counts as a piece of its own."""
    surface = mesh.surface()
    pieces = surface.split(only_watertight=False)
    volumes = [abs(float(piece.volume)) for piece in pieces]
    return SurfaceReport(
        faces=len(mesh.faces),
        vertices=len(mesh.vertices),
        watertight=bool(surface.is_watertight),
        pieces=len(pieces),
        largest_piece=max(volumes) / max(sum(volumes), 1e-12),
        volume=float(surface.volume),
        area=float(surface.area),
    )
