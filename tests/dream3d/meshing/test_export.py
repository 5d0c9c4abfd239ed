"""Mesh files read by trimesh, Pixar's library and Pillow: surface, colors, orientation, atomic writes."""

import os
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from trimesh.ray.ray_triangle import RayMeshIntersector

from core.errors import UserError
from dream3d import job
from dream3d.job import check_format
from dream3d.meshing.export import write_mesh
from dream3d.meshing.fidelity import describe_surface
from dream3d.meshing.formats import obj
from dream3d.meshing.formats.glb import glb
from dream3d.options import Axis

SUFFIXES = (".obj", ".glb", ".ply", ".usdz")  # those with colors
Z_UP = trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0))  # of what is y-up


def read(path: Path) -> trimesh.Trimesh:
    if path.suffix == ".usdz":
        return read_usdz(path)
    mesh = trimesh.load(path, force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def read_usdz(path: Path) -> trimesh.Trimesh:
    """The mesh of a package as it lies in it, with a vertex for each corner of a face."""
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    from pxr import UsdGeom, UsdShade

    stage = usd.Stage.Open(str(path))
    (shape,) = (UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh))
    faces = np.asarray(shape.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
    uv = UsdGeom.PrimvarsAPI(shape).GetPrimvar("st").ComputeFlattened()
    material, _ = UsdShade.MaterialBindingAPI(shape).ComputeBoundMaterial()
    surface = material.ComputeSurfaceSource()[0]
    texture = UsdShade.Shader(surface.GetInput("diffuseColor").GetConnectedSource()[0].GetPrim())
    name = texture.GetInput("file").Get().path.removeprefix("./")
    with ZipFile(path) as package:
        image = Image.open(BytesIO(package.read(name)))
        image.load()
    return trimesh.Trimesh(
        np.asarray(shape.GetPointsAttr().Get())[faces.ravel()],
        np.arange(faces.size).reshape(-1, 3),
        vertex_normals=np.asarray(shape.GetNormalsAttr().Get())[faces.ravel()],
        visual=trimesh.visual.TextureVisuals(uv=np.asarray(uv), image=image),
        process=False,
    )


def colors_at(mesh: trimesh.Trimesh, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Colors (K,3) in 0..255 at barycentric `weights` (K,3), from the nearest texel or vertex colors."""
    corners = mesh.faces[face]
    if mesh.visual.kind == "vertex":
        return (weights[..., None] * mesh.visual.vertex_colors[corners][..., :3]).sum(1)
    material = mesh.visual.material
    image = getattr(material, "baseColorTexture", None) or material.image
    uv = (weights[..., None] * mesh.visual.uv[corners]).sum(1)
    width, height = image.size
    column = (uv[:, 0] * width).astype(int).clip(0, width - 1)
    row = ((1 - uv[:, 1]) * height).astype(int).clip(0, height - 1)
    return np.asarray(image.convert("RGB"))[row, column].astype(float)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_have_the_colors_of_the_field(smooth_ball, tmp_path: Path, suffix: str) -> None:
    write_mesh(tmp_path / f"ball{suffix}", smooth_ball.extraction.mesh)
    mesh = read(tmp_path / f"ball{suffix}")
    random = np.random.default_rng(0)
    face, weights = random.integers(len(mesh.faces), size=4000), random.dirichlet(np.ones(3), 4000)
    points = (weights[..., None] * mesh.triangles[face]).sum(1)
    expected = smooth_ball.field(torch.from_numpy(points).float()).color.numpy() * 255
    assert np.abs(colors_at(mesh, face, weights) - expected).max() < 10


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_have_the_same_closed_surface(smooth_ball, tmp_path: Path, suffix: str) -> None:
    ours = smooth_ball.extraction.mesh
    write_mesh(tmp_path / f"ball{suffix}", ours)
    mesh = read(tmp_path / f"ball{suffix}")
    assert mesh.triangles == pytest.approx(ours.vertices[ours.faces], abs=2e-6)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    assert mesh.is_watertight and mesh.volume == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=0.02)
    report = describe_surface(ours)
    assert report.watertight and report.pieces == 1 and report.faces == len(mesh.faces) <= 3000
    assert report.largest_piece == 1 and report.volume == pytest.approx(mesh.volume, rel=1e-4)
    center = ours.vertices - [0, 1, 0]
    assert (ours.normals * center).sum(1) == pytest.approx(np.linalg.norm(center, axis=1), rel=0.03)


@pytest.mark.parametrize(
    ("suffix", "up"), [*((suffix, None) for suffix in SUFFIXES), (".obj", "z"), (".ply", "z"), (".usdz", "z")]
)
def test_files_keep_the_orientation(painted_ball, tmp_path: Path, suffix: str, up: Axis | None) -> None:
    """The face at +z is red, the side at +x blue, and the crown at +y green."""
    write_mesh(tmp_path / f"ball{suffix}", painted_ball.extraction.mesh, up=up)
    mesh = read(tmp_path / f"ball{suffix}")
    if up == "z":
        mesh.apply_transform(np.linalg.inv(Z_UP))
    sides = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, -1], [-1, 0, 0], [0, -1, 0]]) + 0.01
    at, ray, face = RayMeshIntersector(mesh).intersects_location(
        [0, 1, 0] + 3 * sides, -sides, multiple_hits=False
    )
    weights = trimesh.triangles.points_to_barycentric(mesh.triangles[face], at)
    red, blue, green, *rest = colors_at(mesh, face, weights)[np.argsort(ray)].round().tolist()
    assert (red, blue, green) == ([255, 0, 0], [0, 0, 255], [0, 255, 0])
    assert rest == [[255, 255, 255]] * 3


def test_the_obj_refers_to_its_material_and_texture(smooth_ball, tmp_path: Path) -> None:
    path = tmp_path / "a fox.obj"
    written = write_mesh(path, smooth_ball.extraction.mesh)
    assert written == [path, tmp_path / "a-fox.mtl", tmp_path / "a-fox.texture.png"]
    assert "mtllib a-fox.mtl\n" in path.read_text()
    assert "map_Kd a-fox.texture.png\n" in written[1].read_text()
    with Image.open(written[2]) as texture:
        assert (np.asarray(texture) == smooth_ball.extraction.mesh.texture).all()
    shared = smooth_ball.extraction.mesh.vertices
    assert sum(line.startswith("v ") for line in path.read_text().splitlines()) == len(shared)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_mesh_gives_the_same_bytes(smooth_ball, tmp_path: Path, suffix: str) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_mesh(tmp_path / folder / f"ball{suffix}", smooth_ball.extraction.mesh)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_the_same_field_gives_the_same_mesh(smooth_ball, extract) -> None:
    assert glb(extract(smooth_ball.field).mesh) == glb(smooth_ball.extraction.mesh)


def test_failed_writes_raise_and_leave_no_files(
    smooth_ball, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = smooth_ball.extraction.mesh
    with pytest.raises(UserError, match=r"fox\.fbx.*\.obj, \.glb, \.ply, \.stl or \.usdz"):
        write_mesh(tmp_path / "fox.fbx", mesh)
    check_format(Path("fox.GLB"), "y", None)
    with pytest.raises(UserError, match="Cannot write into the folder"):
        write_mesh(tmp_path / "missing" / "fox.obj", mesh)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(obj.Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_mesh(tmp_path / "fox.obj", mesh)  # while the last of its three files is being written
    assert not os.listdir(tmp_path)


def test_the_glb_is_one_textured_primitive_with_a_matte_material(smooth_ball) -> None:
    tree = trimesh.exchange.gltf.load_glb(trimesh.util.wrap_as_stream(glb(smooth_ball.extraction.mesh)))
    assert len(tree["geometry"]) == 1
    (only,) = tree["geometry"].values()
    assert only["visual"].material.metallicFactor == 0
    assert only["visual"].material.baseColorTexture.size == (512, 512)


def test_a_usdz_has_normals_vertex_colors_and_its_axis(smooth_ball, tmp_path: Path) -> None:
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    from pxr import UsdGeom, UsdValidation

    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    mesh = smooth_ball.extraction.mesh
    for up in ("y", "z"):
        path = tmp_path / f"a [ball] {up}.usdz"
        write_mesh(path, mesh, up=up)
        stage = usd.Stage.Open(str(path))
        assert UsdGeom.GetStageUpAxis(stage) == up.upper() and UsdGeom.GetStageMetersPerUnit(stage) == 1
        with ZipFile(path) as package:  # in the order, and at the places, of Pixar's specification
            infos = package.infolist()
            data = path.read_bytes()
            begins = [data.index(package.read(info)) for info in infos]
            assert [info.filename for info in infos] == ["object.usdc", "texture.png"]
            assert all(begin % 64 == 0 for begin in begins)
            assert all((info.compress_type, info.date_time[0]) == (0, 1980) for info in infos)
        assert not UsdValidation.ValidationContext(validators).Validate(stage)
        (shape,) = (UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh))
        turned = np.asarray(shape.GetNormalsAttr().Get()), np.asarray(shape.GetPointsAttr().Get())
        if up == "z":
            turned = tuple(each @ Z_UP[:3, :3] for each in turned)
        assert turned[0] == pytest.approx(mesh.normals, abs=1e-6)
        assert turned[1] == pytest.approx(mesh.vertices, abs=1e-6)
        linear = np.asarray(UsdGeom.PrimvarsAPI(shape).GetPrimvar("displayColor").Get())
        srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        assert srgb * 255 == pytest.approx(mesh.colors, abs=0.01)


@pytest.mark.parametrize(("up", "axis"), [(None, 2), ("z", 2), ("y", 1)])
@pytest.mark.parametrize("height", [None, 62.5])
def test_an_stl_stands_closed_on_a_flat_base(
    painted_ball, tmp_path: Path, up: Axis | None, axis: int, height: float | None
) -> None:
    write_mesh(tmp_path / "ball.stl", painted_ball.extraction.mesh, up=up, height=height)
    mesh = trimesh.load(tmp_path / "ball.stl")
    high = height or 100
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.bounds[:, axis] == pytest.approx([0, high], abs=1e-4)
    assert np.delete(mesh.bounds.sum(0), axis) == pytest.approx([0, 0], abs=1e-4)
    # trimesh cuts off the lowest fiftieth: its shadow is the area of the cut.
    ours = painted_ball.extraction.mesh.surface()
    (_, low, _), (_, top, _) = ours.bounds
    scale = high / (0.98 * (top - low))
    plane = np.array([0, -1, 0]), np.array([0, low + 0.02 * (top - low), 0])
    vertices, faces, *_ = trimesh.intersections.slice_faces_plane(ours.vertices, ours.faces, *plane)
    cut_off = trimesh.Trimesh(vertices, faces)
    area = -(cut_off.area_faces * cut_off.face_normals[:, 1]).sum() * scale**2
    base = mesh.area_faces[(np.abs(mesh.triangles[..., axis]) < 1e-4).all(1)].sum()
    assert base == pytest.approx(area, rel=1e-3) and base > 100
    assert mesh.volume == pytest.approx(ours.volume * scale**3, rel=0.01)


def test_an_open_surface_is_reported_where_it_is_to_be_printed(smooth_ball, tmp_path: Path) -> None:
    mesh = smooth_ball.extraction.mesh
    with pytest.warns(UserWarning, match=r"hole\.stl is not watertight"):
        write_mesh(tmp_path / "hole.stl", replace(mesh, faces=mesh.faces[1:]))
    assert not trimesh.load(tmp_path / "hole.stl").is_watertight


@pytest.mark.parametrize(
    ("name", "up", "height", "sentence"),
    [
        ("fox.glb", "z", None, "--up z is not for .glb, whose y axis points up by definition"),
        ("fox.obj", None, 80.0, "--height is that of an .stl in millimeters, and fox.obj is in meters"),
        ("fox.3mf", None, None, "must end in .obj, .glb, .ply, .stl or .usdz"),
    ],
)
def test_what_a_format_cannot_have_is_refused(
    name: str, up: Axis | None, height: float | None, sentence: str
) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        check_format(Path(name), up, height)


def test_a_usdz_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="Cannot write fox.usdz without usd-core: pip install usd-core"):
        check_format(Path("fox.usdz"), None, None)
