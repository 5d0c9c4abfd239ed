"""Meshing of a distilled field: mesh, fidelity and surface reports, and all output files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from core.io.clips.write import write_clip
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
COVERED_OPACITY = 1 / 3  # silhouettes are where opacity exceeds this: thin parts are semi-transparent
FRAMES_A_SECOND = 16.0  # of the turntable


class MeshingResult(NamedTuple):
    """A mesh with its reports."""

    mesh: Mesh
    fidelity: Fidelity
    surface: SurfaceReport


@torch.no_grad()
def render_field(field: RadianceField, cameras: Cameras, size: int) -> RenderedViews:
    """Renders of a field over white."""
    occupancy = OccupancyGrid(field)
    occupancy.update(field)
    background = torch.ones(3, device=field.low.device)
    return render(field, cameras, size, SAMPLES, background, occupancy=occupancy)


def mesh_field(field: RadianceField, options: ObjectOptions) -> MeshingResult:
    """The mesh of a field with its reports. Raises UserError when the field is empty."""
    cameras = orbit_cameras(VIEWS)
    renders = render_field(field, cameras, SIZE)
    covered = (renders.opacity[:, 0] > COVERED_OPACITY).cpu().numpy()
    mesh, _ = extract_mesh(field, cameras, covered, MeshOptions(faces=options.faces, texture=options.texture))
    color = renders.color.permute(0, 2, 3, 1).cpu().numpy()
    return MeshingResult(mesh, measure_fidelity(mesh, cameras, color, covered), describe_surface(mesh))


def write_object_files(job: ObjectJob, mesh: Mesh, options: ObjectOptions) -> list[Path]:
    """Writes the mesh, a GLB, the turntable, the sheet of eight views and the viewer; returns the files."""
    files = write_mesh(job.mesh, mesh, up=options.up, height=options.height)
    if job.mesh.suffix.lower() != ".glb":
        files += write_mesh(job.glb, mesh)
    color = PAPER if options.background is None else options.background_color
    turntable = job.turntable(transparent=color is None)
    write_clip(turntable, render_turntable(mesh, options.turn, background=color), FRAMES_A_SECOND)
    write_sheet(job.sheet, render_eight_views(mesh), job.prompt, columns=4)
    write_viewer(job.viewer, mesh, job.prompt)
    return [*files, turntable, job.sheet, job.viewer]
