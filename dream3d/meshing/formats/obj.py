"""OBJ with its material (.mtl) and texture (.texture.png)."""

from pathlib import Path

import numpy as np
from PIL import Image

from core.io.atomic import atomic_write
from dream3d.job import MATERIAL, OBJECT, TEXTURE
from dream3d.meshing.mesh import SURFACE, Mesh


def write_obj(path: Path, mesh: Mesh) -> list[Path]:
    """Writes the mesh as OBJ; returns the paths of the three files."""
    # trimesh would duplicate the vertices along texture seams, and the surface would not be closed.
    material, texture = OBJECT.files(path).beside(MATERIAL), OBJECT.files(path).beside(TEXTURE)
    corners = np.stack([mesh.faces, mesh.corners, mesh.faces], -1).reshape(-1, 9) + 1
    lines = [
        f"mtllib {material.name}\n",
        _rows("v {:.6f} {:.6f} {:.6f}\n", mesh.vertices),
        _rows("vt {:.6f} {:.6f}\n", mesh.uv_from_below()),
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
