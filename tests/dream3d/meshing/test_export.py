"""Mesh files read back by trimesh and Pillow: surface, colors, orientation, atomic writes."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from trimesh.ray.ray_triangle import RayMeshIntersector

from core.errors import UserError
from dream3d.meshing import export
from dream3d.meshing.export import check_mesh_path, glb, write_mesh
from dream3d.meshing.fidelity import describe_surface

SUFFIXES = (".obj", ".glb", ".ply")


def read(path: Path) -> trimesh.Trimesh:
    mesh = trimesh.load(path, force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


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


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_keep_the_orientation(painted_ball, tmp_path: Path, suffix: str) -> None:
    """The face at +z is red, the side at +x blue, and the crown at +y green."""
    write_mesh(tmp_path / f"ball{suffix}", painted_ball.extraction.mesh)
    mesh = read(tmp_path / f"ball{suffix}")
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
    for act in (check_mesh_path, lambda path: write_mesh(path, mesh)):
        with pytest.raises(UserError, match=r"fox\.stl.*\.obj, \.glb or \.ply"):
            act(tmp_path / "fox.stl")
    check_mesh_path(Path("fox.GLB"))
    with pytest.raises(UserError, match="Cannot write into the folder"):
        write_mesh(tmp_path / "missing" / "fox.obj", mesh)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export.Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_mesh(tmp_path / "fox.obj", mesh)  # while the last of its three files is being written
    assert not os.listdir(tmp_path)


def test_the_glb_is_one_textured_primitive_with_a_matte_material(smooth_ball) -> None:
    tree = trimesh.exchange.gltf.load_glb(trimesh.util.wrap_as_stream(glb(smooth_ball.extraction.mesh)))
    assert len(tree["geometry"]) == 1
    (only,) = tree["geometry"].values()
    assert only["visual"].material.metallicFactor == 0
    assert only["visual"].material.baseColorTexture.size == (512, 512)
