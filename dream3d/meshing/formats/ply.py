"""PLY: binary, with normals and vertex colors and without a texture."""

from pathlib import Path

import trimesh
from trimesh.exchange.ply import export_ply

from core.io.atomic import atomic_write
from dream3d.meshing.mesh import Mesh


def write_ply(path: Path, mesh: Mesh) -> list[Path]:
    """Writes the mesh as binary PLY; returns the path."""
    surface = trimesh.Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_normals=mesh.normals,
        vertex_colors=mesh.colors,
        process=False,
    )
    with atomic_write(path) as draft:
        draft.write_bytes(export_ply(surface, vertex_normal=True))
    return [path]
