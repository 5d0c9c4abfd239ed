"""Renders of a mesh: from given cameras, the turntable, and the sheet of eight views."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.io.pictures import Frames
from dream3d.meshing.mesh import Mesh
from dream3d.meshing.rasterizer import VisibleSurface, rasterize
from dream3d.nerf.cameras import Cameras, orbit_cameras

PAPER = (0.957, 0.953, 0.945)
FIELD_OF_VIEW = 25.0  # degrees
MARGIN = 1.06  # ratio of the image's width to the diameter of the mesh's bounding sphere
# Direction to the light in camera axes (over the left shoulder), and the ambient share.
LIGHT = np.array([-0.45, 0.6, 0.66])
AMBIENT = 0.6


class MeshRenders(NamedTuple):
    """Renders of a mesh by N cameras."""

    color: NDArray[np.float32]  # (N,S,S,3) sRGB in [0,1], over the background
    opacity: NDArray[np.float32]  # (N,S,S) in [0,1], covered share of the pixel
    depth: NDArray[np.float32]  # (N,S,S) m along the camera's axis, infinite where there is no surface


def render_mesh(
    mesh: Mesh,
    cameras: Cameras,
    size: int,
    *,
    background: ArrayLike = 1.0,
    light: bool = False,
    supersampling: int = 2,
) -> MeshRenders:
    """Renders of a mesh by N cameras, size x size pixels of supersampling^2 samples each.

    background: a gray value or a color (3,) in [0,1].
    light: Lambertian shading with a light over the camera's left shoulder; without it, the texture's colors.
    """
    _, axes, _ = cameras.to_numpy()
    visible = rasterize(mesh.vertices, mesh.faces, cameras, size * supersampling)
    renders = [
        _shade(mesh, surface, camera_axes, background, light, supersampling)
        for surface, camera_axes in zip(visible, axes, strict=True)
    ]
    return MeshRenders(*(np.stack(parts).astype(np.float32) for parts in zip(*renders, strict=True)))


def _shade(
    mesh: Mesh,
    surface: VisibleSurface,
    axes: NDArray[np.floating],
    background: ArrayLike,
    light: bool,
    supersampling: int,
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Color, opacity and depth of one view, averaged over supersampling^2 samples a pixel."""
    hit = surface.face >= 0
    color = np.broadcast_to(np.asarray(background, np.float64), (*hit.shape, 3)).copy()
    color[hit] = _texture_at(mesh, surface, hit)
    if light:
        normals = np.einsum("kc,kcd->kd", surface.weights[hit], mesh.normals[mesh.faces[surface.face[hit]]])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
        lit = (normals @ axes @ (LIGHT / np.linalg.norm(LIGHT))).clip(0)
        color[hit] *= (AMBIENT + (1.05 - AMBIENT) * lit)[:, None].clip(None, 1)
    colors, hits, depths = (_samples_of_pixels(x, supersampling) for x in (color, hit, surface.depth))
    return np.mean(colors, 0), np.mean(hits, 0), np.min(depths, 0)


def _samples_of_pixels(samples: NDArray[Any], supersampling: int) -> list[NDArray[Any]]:
    """Arrays (S,S,...), one for each of the supersampling^2 samples of a pixel."""
    places = [(i, j) for i in range(supersampling) for j in range(supersampling)]
    return [samples[i::supersampling, j::supersampling] for i, j in places]


def _texture_at(mesh: Mesh, surface: VisibleSurface, hit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Bilinearly filtered texture colors (K,3) in [0,1] of the pixels of the mask `hit`."""
    uv = np.einsum("kc,kcd->kd", surface.weights[hit], mesh.uv[mesh.corners[surface.face[hit]]])
    size = len(mesh.texture)
    place = (uv * size - 0.5).clip(0, size - 1)
    low = np.minimum(place.astype(int), size - 2)
    right, down = (place - low).T[..., None]
    column, row = low.T
    upper = (1 - right) * mesh.texture[row, column] + right * mesh.texture[row, column + 1]
    lower = (1 - right) * mesh.texture[row + 1, column] + right * mesh.texture[row + 1, column + 1]
    return ((1 - down) * upper + down * lower) / 255


def framing_cameras(mesh: Mesh, azimuths: int | Sequence[float], elevation: float = 15.0) -> Cameras:
    """Cameras around a mesh, at a distance at which its bounding sphere fits the image.

    azimuths, elevation: as in `orbit_cameras`.
    """
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    center = (low + high) / 2
    radius = np.linalg.norm(mesh.vertices - center, axis=1).max()
    distance = float(MARGIN * radius / np.sin(np.deg2rad(FIELD_OF_VIEW) / 2))
    x, y, z = center.tolist()
    return orbit_cameras(azimuths, elevation, distance, FIELD_OF_VIEW, (x, y, z))


def render_turntable(
    mesh: Mesh,
    count: int = 48,
    size: int = 256,
    elevation: float = 15.0,
    background: Sequence[float] | None = PAPER,
) -> Frames:
    """Frames (count,size,size,3) of a looping turn, from the front counter-clockwise seen from above.

    background: a color in [0,1]; None for transparent frames (count,size,size,4), not premultiplied.
    """
    if background is not None:
        return _frames(mesh, count, size, elevation, background)
    renders = _renders(mesh, count, size, elevation, (0.0, 0.0, 0.0))
    opacity = renders.opacity[..., None]
    color = np.divide(renders.color, opacity, out=np.zeros_like(renders.color), where=opacity > 0)
    return (np.concatenate([color, opacity], -1).clip(0, 1) * 255).round().astype(np.uint8)


def render_eight_views(mesh: Mesh, size: int = 192, elevation: float = 15.0) -> Frames:
    """Images (8,size,size,3) from azimuths 0, 45, ... 315, for a contact sheet of four columns."""
    return _frames(mesh, 8, size, elevation, PAPER)


def _frames(mesh: Mesh, count: int, size: int, elevation: float, background: Sequence[float]) -> Frames:
    """`count` lit renders in equal steps around the mesh, as 8-bit frames."""
    return (_renders(mesh, count, size, elevation, background).color * 255).round().astype(np.uint8)


def _renders(mesh: Mesh, count: int, size: int, elevation: float, background: Sequence[float]) -> MeshRenders:
    """`count` lit renders in equal steps around the mesh."""
    cameras = framing_cameras(mesh, count, elevation)
    return render_mesh(mesh, cameras, size, background=background, light=True)
