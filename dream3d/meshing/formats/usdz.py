"""USDZ by Pixar's library, which the extra `usd` installs: texture, normals and vertex colors in one file."""

import struct
from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
from PIL import Image

from core.io.atomic import atomic_write
from dream3d.meshing.mesh import SURFACE, Mesh

STAGE, TEXTURE = "object.usdc", "texture.png"  # inside the package
ALIGNMENT, PADDING = 64, 0x1986  # bytes at which files begin in a package, and the kind of what lies between
HEADER = 30  # bytes before the name of a file in a zip


def write_usdz(path: Path, mesh: Mesh, up: str) -> list[Path]:
    """Writes the mesh as USDZ; returns the path. up: "y" or "z", which the file states."""
    with TemporaryDirectory() as folder:
        stage = Path(folder) / STAGE
        _write_stage(stage, mesh, up)
        texture = BytesIO()
        Image.fromarray(mesh.texture).save(texture, format="PNG")
        files = {STAGE: stage.read_bytes(), TEXTURE: texture.getvalue()}
    with atomic_write(path) as draft:
        draft.write_bytes(_package(files))
    return [path]


def _package(files: Mapping[str, bytes]) -> bytes:
    """A zip of files without compression, the first of which is opened, as USDZ lays it out.

    The library's own packages have the time at which they are made, and so never the same bytes.
    """
    data = BytesIO()
    with ZipFile(data, "w") as package:
        for name, content in files.items():
            info = ZipInfo(name)
            begin = data.tell() + HEADER + len(name) + 4
            padding = -begin % ALIGNMENT
            info.extra = struct.pack("<HH", PADDING, padding) + bytes(padding)
            package.writestr(info, content)
    return data.getvalue()


def _write_stage(path: Path, mesh: Mesh, up: str) -> None:
    """Writes the binary USD file, which names the texture."""
    names = ("Gf", "Sdf", "Usd", "UsdGeom", "UsdShade", "Vt")
    Gf, Sdf, Usd, UsdGeom, UsdShade, Vt = map(_pxr, names)  # noqa: N806  (the library's own names)
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, getattr(UsdGeom.Tokens, up))
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    root = UsdGeom.Xform.Define(stage, "/object")
    stage.SetDefaultPrim(root.GetPrim())

    shape = UsdGeom.Mesh.Define(stage, "/object/mesh")
    shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(mesh.vertices))
    shape.CreateFaceVertexCountsAttr(Vt.IntArray(len(mesh.faces), 3))
    shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.ravel()))
    shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    shape.CreateExtentAttr(
        [Gf.Vec3f(*map(float, limit)) for limit in (mesh.vertices.min(0), mesh.vertices.max(0))]
    )
    shape.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(mesh.normals))
    shape.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    values = UsdGeom.PrimvarsAPI(shape)
    colors = values.CreatePrimvar("displayColor", Sdf.ValueTypeNames.Color3fArray, UsdGeom.Tokens.vertex)
    colors.Set(Vt.Vec3fArray.FromNumpy(_linear(mesh.colors)))
    uv = values.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying)
    uv.Set(Vt.Vec2fArray.FromNumpy(mesh.uv_from_below().astype(np.float32)))
    uv.SetIndices(Vt.IntArray.FromNumpy(mesh.corners.ravel()))

    material = UsdShade.Material.Define(stage, f"/object/{SURFACE}")
    shader = UsdShade.Shader.Define(stage, f"/object/{SURFACE}/shader")
    shader.CreateIdAttr("UsdPreviewSurface")
    shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(1.0)
    shader.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
    reader = UsdShade.Shader.Define(stage, f"/object/{SURFACE}/uv")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    texture = UsdShade.Shader.Define(stage, f"/object/{SURFACE}/texture")
    texture.CreateIdAttr("UsdUVTexture")
    texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(f"./{TEXTURE}")
    texture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
    texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(
        reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
    )
    shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(
        texture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
    )
    material.CreateSurfaceOutput().ConnectToSource(shader.CreateOutput("surface", Sdf.ValueTypeNames.Token))
    UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(material)
    stage.GetRootLayer().Save()


def _pxr(module: str) -> Any:
    """A module of the library, which states no types."""
    return import_module(f"pxr.{module}")


def _linear(colors: np.ndarray) -> np.ndarray:
    """Linear float32 colors of sRGB ones of 8 bits (IEC 61966-2-1): USD's colors are linear."""
    share = colors / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4).astype(np.float32)
