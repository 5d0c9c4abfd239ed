"""Fidelity of a mesh to its field, and properties of its surface."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from dream3d.meshing.mesh import Mesh
from dream3d.meshing.preview import render_mesh
from dream3d.meshing.rasterizer import mask_iou
from dream3d.nerf.cameras import Cameras


class Fidelity(BaseModel):
    """Differences between renders of a mesh, before views are painted on its texture, and of its field."""

    model_config = ConfigDict(frozen=True)

    views: int
    psnr: float  # dB, over all pixels of all views
    worst_psnr: float  # dB, of the worst view
    silhouette_iou: float  # mean over the views
    worst_silhouette_iou: float


class SurfaceReport(BaseModel):
    """Properties of the surface of a mesh."""

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
    """Fidelity of a mesh to renders of its field by N cameras.

    color: (N,H,H,3) in [0,1] over `background`, albedo: the mesh is rendered unlit.
    covered: (N,H,H) silhouettes of the field.
    background: a gray value or a color (3,).
    """
    target = np.asarray(color, np.float64)
    renders = render_mesh(mesh, cameras, target.shape[1], background=background)
    errors = np.square(renders.color - target).mean((1, 2, 3))
    ious = [mask_iou(opacity > 0.5, mask) for opacity, mask in zip(renders.opacity, covered, strict=True)]
    return Fidelity(
        views=len(target),
        psnr=_psnr(errors.mean()),
        worst_psnr=_psnr(errors.max()),
        silhouette_iou=float(np.mean(ious)),
        worst_silhouette_iou=float(np.min(ious)),
    )


def _psnr(error: float) -> float:
    """PSNR in dB of a mean squared error of values in [0,1], at most 100."""
    return -10 * math.log10(max(error, 1e-10))


def describe_surface(mesh: Mesh) -> SurfaceReport:
    """Properties of the surface of a mesh; a hollow counts as a separate piece."""
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
