"""GLB: binary glTF 2.0, which is y-up and in meters by definition."""

from pathlib import Path

import trimesh
from PIL import Image
from trimesh.exchange.gltf import export_glb
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from core.io.atomic import atomic_write
from dream3d.meshing.mesh import SURFACE, Mesh


def glb(mesh: Mesh) -> bytes:
    """Binary glTF 2.0 of the mesh: one primitive with normals, UV coordinates and an embedded PNG texture."""
    vertex = mesh.vertex_of_uv()
    material = PBRMaterial(
        name=SURFACE,
        baseColorTexture=Image.fromarray(mesh.texture),
        metallicFactor=0.0,
        roughnessFactor=1.0,
    )
    split = trimesh.Trimesh(
        mesh.vertices[vertex],
        mesh.corners,
        vertex_normals=mesh.normals[vertex],
        # trimesh measures v from the bottom, like OBJ
        visual=TextureVisuals(uv=mesh.uv_from_below(), material=material),
        process=False,
    )
    return export_glb(trimesh.Scene({"mesh": split}), include_normals=True)


def write_glb(path: Path, mesh: Mesh) -> list[Path]:
    """Writes the mesh as GLB; returns the path."""
    with atomic_write(path) as draft:
        draft.write_bytes(glb(mesh))
    return [path]
