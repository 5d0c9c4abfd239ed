"""Tests of mesh metrics against closed forms."""

import math

import numpy as np
import pytest
import torch
import trimesh

from core.toybox.camera import Camera
from core.toybox.scenes import named_scene, render_scenes
from dream3d.meshing.extract import MeshOptions, extract_mesh
from dream3d.meshing.mesh import Mesh
from dream3d.nerf.cameras import ELEVATION, orbit_cameras
from dream3d.nerf.scene_field import SceneField
from dreamlift.evaluation.mesh_metrics import (
    _aligned,
    chamfer,
    measure,
    pictures_for_a_judge,
    solid,
    volume_iou,
)


def ball(radius: float = 0.6, center=(0, 1, 0)) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=4, radius=radius).apply_translation(center)


def painted(surface: trimesh.Trimesh) -> Mesh:
    """Textured mesh of a surface: red in front, blue behind."""
    front = np.asarray(surface.vertices)[:, 2] > 0
    uv = np.stack([np.where(front, 0.25, 0.75), np.full(len(front), 0.5)], 1).astype(np.float32)
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:, :32, 0], texture[:, 32:, 2] = 255, 255
    colors = np.where(front[:, None], (255, 0, 0), (0, 0, 255)).astype(np.uint8)
    faces = np.asarray(surface.faces, np.int32)
    vertices, normals = (np.asarray(x, np.float32) for x in (surface.vertices, surface.vertex_normals))
    return Mesh(vertices, normals, colors, faces, uv, faces, texture)


def test_voxels_of_a_ball_fill_its_volume() -> None:
    spacing = 0.03
    inside = solid(ball(), np.array([-0.7, 0.3, -0.7]), spacing)
    assert inside.sum() * spacing**3 == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.02)
    x, y, z = (np.argwhere(inside).mean(0) + 0.5) * spacing + np.array([-0.7, 0.3, -0.7])
    assert (x, y, z) == pytest.approx((0, 1, 0), abs=0.02)


def test_volume_iou_and_chamfer_of_concentric_balls() -> None:
    assert volume_iou(ball(0.6), ball(0.6)) == 1
    assert volume_iou(ball(0.6), ball(0.3)) == pytest.approx(1 / 8, rel=0.08)
    assert chamfer(ball(0.6), ball(0.5)) == pytest.approx(0.1, abs=0.01)


def test_mesh_equals_itself_but_not_its_turned_colors() -> None:
    egg = ball().apply_scale([1, 1.2, 0.8])
    same = measure(painted(egg), painted(egg))
    assert same.silhouette_iou == 1 and same.psnr == 100 and same.own_azimuths == 8
    assert same.volume_iou == 1 and same.chamfer < 0.03
    back = painted(egg.copy())
    back = Mesh(**{**vars(back), "texture": back.texture[:, ::-1].copy()})
    turned = measure(back, painted(egg))
    assert turned.silhouette_iou == 1 and turned.psnr < 15 and turned.own_azimuths == 0


def test_alignment_inverts_a_similarity_transform() -> None:
    truth = trimesh.creation.box((0.6, 1.0, 0.4)).apply_translation((0.05, 1.05, 0))
    truth = truth.subdivide_to_size(0.1)
    moved = truth.copy().apply_translation((0, -1, 0)).apply_scale(0.9).apply_translation((0.06, 1.0, 0.05))
    aligned = _aligned(painted(moved), painted(truth))
    assert np.abs(np.asarray(aligned.bounds) - truth.bounds).max() < 0.03


def test_textureless_mesh_matches_the_toybox_textureless_render() -> None:
    scene = named_scene("bear", "holding a balloon", backdrop="on a light blue background")
    azimuth = torch.tensor([-90.0, -45.0, 0.0, 45.0, 90.0])
    camera, shadow = Camera(azimuth, torch.full((5,), ELEVATION)), torch.zeros(5, dtype=torch.bool)
    gray, picture = render_scenes([scene], torch.zeros(5), camera, shadow, textureless=True)
    colored, _ = render_scenes([scene], torch.zeros(5), camera, shadow)

    coarse = MeshOptions(resolution=80, levels=3, texture=64)
    mesh, _ = extract_mesh(SceneField(scene), orbit_cameras(1), (picture.alpha[2] > 0.5).numpy(), coarse)
    ours = (pictures_for_a_judge(mesh, textureless=True) + 1) / 2
    inside = picture.alpha[:, 0] == 1
    error, color_error = ((ours - each).abs().mean(1)[inside].mean() for each in (gray, colored))
    assert error < 0.015 and color_error > 0.1
    assert (ours - gray).abs().mean() < 0.03  # including the backdrop's shading and the outlines
