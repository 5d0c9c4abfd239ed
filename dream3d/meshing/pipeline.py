"""Meshing of a distilled field: mesh, fidelity and surface reports, and all output files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.io.clips.write import write_clip
from core.io.pictures import Frames
from core.io.sheet import write_sheet
from dream3d.job import ObjectJob
from dream3d.meshing.export import write_mesh
from dream3d.meshing.extract import MeshOptions, extract_mesh
from dream3d.meshing.fidelity import Fidelity, SurfaceReport, describe_surface, measure_fidelity
from dream3d.meshing.mesh import Mesh
from dream3d.meshing.preview import PAPER, render_eight_views, render_turntable
from dream3d.meshing.viewer import write_viewer
from dream3d.nerf.cameras import Cameras, orbit_cameras
from dream3d.nerf.occupancy_grid import OccupancyGrid
from dream3d.nerf.radiance_fields import RadianceField
from dream3d.nerf.volume_rendering import RenderedViews, render
from dream3d.options import ObjectOptions

VIEWS, SIZE, SAMPLES = 16, 96, 128  # of the renders that a mesh is compared with
LEAST_WEIGHT = 3e-4  # share of a pixel; lighter samples are haze, and are not rendered
AT_ONCE = 2  # of these views: all together take more than a gigabyte
COVERED_OPACITY = 0.4  # silhouettes are where opacity exceeds this: thin parts are semi-transparent
FRAMES_A_SECOND = 16.0  # of the turntable


class MeshingResult(NamedTuple):
    """A mesh with its reports, and the renders of the field that it was compared with.

    views: (VIEWS,SIZE,SIZE,4), with alpha, by `orbit_cameras(VIEWS)`.
    """

    mesh: Mesh
    fidelity: Fidelity
    surface: SurfaceReport
    views: Frames


@torch.no_grad()
def render_field(field: RadianceField, cameras: Cameras, size: int) -> tuple[Tensor, Tensor]:
    """Renders (N,3,size,size) of a field over white, and their opacity (N,1,size,size)."""
    occupancy = OccupancyGrid(field)
    occupancy.update(field)
    background = torch.ones(3, device=field.low.device)

    def renders_of(cameras: Cameras) -> RenderedViews:
        return render(
            field, cameras, size, SAMPLES, background, occupancy=occupancy, least_weight=LEAST_WEIGHT
        )

    renders = [renders_of(cameras[start : start + AT_ONCE]) for start in range(0, len(cameras), AT_ONCE)]
    return torch.cat([each.color for each in renders]), torch.cat([each.opacity for each in renders])


def mesh_field(field: RadianceField, options: ObjectOptions) -> MeshingResult:
    """The mesh of a field with its reports. Raises UserError when the field is empty."""
    cameras = orbit_cameras(VIEWS)
    colors, opacities = render_field(field, cameras, SIZE)
    covered = (opacities[:, 0] > COVERED_OPACITY).cpu().numpy()
    mesh, _ = extract_mesh(field, cameras, covered, MeshOptions(faces=options.faces, texture=options.texture))
    color, opacity = (each.permute(0, 2, 3, 1).cpu().numpy() for each in (colors, opacities))
    fidelity = measure_fidelity(mesh, cameras, color, covered)
    return MeshingResult(mesh, fidelity, describe_surface(mesh), _without_white(color, opacity))


def _without_white(color: NDArray[np.float32], opacity: NDArray[np.float32]) -> Frames:
    """Frames (N,S,S,4), not premultiplied, of renders (N,S,S,3) over white with opacity (N,S,S,1)."""
    own = np.divide(color - (1 - opacity), opacity, out=np.zeros_like(color), where=opacity > 0)
    return (np.concatenate([own, opacity], -1).clip(0, 1) * 255).round().astype(np.uint8)


def write_object_files(
    job: ObjectJob, mesh: Mesh, options: ObjectOptions, views: Frames | None = None
) -> list[Path]:
    """Writes the mesh, a GLB, the turntable, the sheet of eight views and the viewer; returns the files.

    views: of the field, for the viewer.
    """
    files = write_mesh(job.mesh, mesh, up=options.up, height=options.height)
    if job.mesh.suffix.lower() != ".glb":
        files += write_mesh(job.glb, mesh)
    color = PAPER if options.background is None else options.background_color
    turntable = job.turntable(transparent=color is None)
    write_clip(turntable, render_turntable(mesh, options.turn, background=color), FRAMES_A_SECOND)
    write_sheet(job.sheet, render_eight_views(mesh), job.prompt, columns=4)
    write_viewer(job.viewer, mesh, job.prompt, views)
    return [*files, turntable, job.sheet, job.viewer]
