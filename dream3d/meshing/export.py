"""Mesh files: OBJ with material and texture, GLB, PLY. All files are written atomically."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.ply import export_ply
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from core.errors import UserError
from core.io.atomic import atomic_write
from dream3d.job import MATERIAL, OBJECT, TEXTURE
from dream3d.meshing.mesh import Mesh

SURFACE = "surface"  # the name of the material


def write_mesh(path: Path, mesh: Mesh) -> list[Path]:
    """Writes the mesh in the format of the suffix of `path` and returns the written files.

    .obj with an .mtl and a .texture.png file: positions, normals and texture.
    .glb: the same in one file.
    .ply: positions, normals and vertex colors.
    Raises UserError for another suffix and for a folder that is not writable.
    """
    return _writer(path)(path, mesh)


def check_mesh_path(path: Path) -> None:
    """Raises UserError unless `write_mesh` supports the suffix of `path`."""
    _writer(path)


def _writer(path: Path) -> Callable[[Path, Mesh], list[Path]]:
    """The function that writes the format of the suffix. Raises UserError for another suffix."""
    write = {".obj": _write_obj, ".glb": _write_glb, ".ply": _write_ply}.get(path.suffix.lower())
    if write is None:
        raise UserError(f"Cannot write the mesh as {path.name}: its name must end in .obj, .glb or .ply.")
    return write


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
        visual=TextureVisuals(uv=_from_below(mesh), material=material),
        process=False,
    )
    return export_glb(trimesh.Scene({"mesh": split}), include_normals=True)


def _from_below(mesh: Mesh) -> np.ndarray:
    """UV coordinates (T,2) with v measured from the bottom."""
    return np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], 1)


def _write_glb(path: Path, mesh: Mesh) -> list[Path]:
    with atomic_write(path) as draft:
        draft.write_bytes(glb(mesh))
    return [path]


def _write_ply(path: Path, mesh: Mesh) -> list[Path]:
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


def _write_obj(path: Path, mesh: Mesh) -> list[Path]:
    # trimesh would duplicate the vertices along texture seams, and the surface would not be closed.
    material, texture = OBJECT.files(path).beside(MATERIAL), OBJECT.files(path).beside(TEXTURE)
    corners = np.stack([mesh.faces, mesh.corners, mesh.faces], -1).reshape(-1, 9) + 1
    lines = [
        f"mtllib {material.name}\n",
        _rows("v {:.6f} {:.6f} {:.6f}\n", mesh.vertices),
        _rows("vt {:.6f} {:.6f}\n", _from_below(mesh)),
        _rows("vn {:.4f} {:.4f} {:.4f}\n", mesh.normals),
        f"usemtl {SURFACE}\n",
        _rows("f {}/{}/{} {}/{}/{} {}/{}/{}\n", corners),
    ]
    # Files appear in reverse order: the .obj, which refers to the others, appears last.
    with (
        atomic_write(path) as draft,
        atomic_write(material) as material_draft,
        atomic_write(texture) as texture_draft,
    ):
        draft.write_text("".join(lines), encoding="utf-8")
        material_draft.write_text(
            f"newmtl {SURFACE}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {texture.name}\n",
            encoding="utf-8",
        )
        Image.fromarray(mesh.texture).save(texture_draft, format="PNG")
    return [path, material, texture]


def _rows(form: str, values: np.ndarray) -> str:
    """One line per row of values."""
    return "".join(form.format(*row) for row in values.tolist())
