"""Mesh files: OBJ with material and texture, GLB, PLY, STL, USDZ. All files are written atomically."""

from pathlib import Path

from dream3d.job import check_format
from dream3d.meshing.formats.glb import write_glb
from dream3d.meshing.formats.obj import write_obj
from dream3d.meshing.formats.ply import write_ply
from dream3d.meshing.formats.stl import write_stl
from dream3d.meshing.formats.usdz import write_usdz
from dream3d.meshing.mesh import Mesh
from dream3d.options import Axis


def write_mesh(path: Path, mesh: Mesh, *, up: Axis | None = None, height: float | None = None) -> list[Path]:
    """Writes the mesh in the format of the suffix of `path` and returns the written files.

    .obj with an .mtl and a .texture.png file: positions, normals and texture.
    .glb: the same in one file.
    .usdz: the same in one file, and vertex colors.
    .ply: positions, normals and vertex colors.
    .stl: positions, in millimeters and on a flat base, see `dream3d.meshing.formats.stl`.

    up: axis that points up; None is z for .stl, as printers have it, and y for the others.
    height: of an .stl in millimeters, 100 unless given.

    Raises UserError for another suffix, for what a format cannot have, and for a folder that is not writable.
    """
    check_format(path, up, height)
    ending = path.suffix.lower()
    up = up or ("z" if ending == ".stl" else "y")
    turned = mesh.with_z_up() if up == "z" else mesh
    if ending == ".stl":
        return write_stl(path, turned, "xyz".index(up), height)
    if ending == ".usdz":
        return write_usdz(path, turned, up)
    return {".obj": write_obj, ".glb": write_glb, ".ply": write_ply}[ending](path, turned)
