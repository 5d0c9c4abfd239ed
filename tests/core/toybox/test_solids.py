"""Frames, rotations, the scene builder and inverse kinematics."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from core.toybox.figure import FOREARM, SHIN, THIGH, UPPER_ARM, Pose, pose_body, two_bone_ik
from core.toybox.solids import Frame, SceneBuilder, Solids, rotation


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_rotations_match_scipy(axis: str) -> None:
    degrees = np.array([-170.0, -30.0, 0.0, 12.5, 90.0])
    expected = Rotation.from_euler(axis, degrees[:, None], degrees=True).as_matrix()
    np.testing.assert_allclose(rotation(axis, degrees), expected, atol=1e-12)
    np.testing.assert_allclose(rotation(axis, 12.5), expected[3], atol=1e-12)


def test_frames_compose_like_matrices() -> None:
    first = Frame.world(3).child((1, 2, 3), rotation("y", np.array([10.0, 20.0, 30.0])), 0.5)
    second = first.child((0.1, -0.4, 0.2), rotation("x", 40), 3.0)
    local = np.array([0.3, 0.2, -0.7])
    inner = np.array([0.1, -0.4, 0.2]) + 3.0 * rotation("x", 40) @ local
    expected = [[1, 2, 3] + 0.5 * turn @ inner for turn in rotation("y", np.array([10.0, 20.0, 30.0]))]
    np.testing.assert_allclose(second.point(local), expected, atol=1e-12)
    np.testing.assert_allclose(second.local(second.point(local)), np.tile(local, (3, 1)), atol=1e-12)


def test_solids_are_placed_in_their_frame() -> None:
    s = SceneBuilder(2)
    frame = Frame.world(2).child(np.array([[0.0, 0, 0], [5.0, 0, 0]]), rotation("z", 90), 2.0)
    s.ball(frame, (1, 0, 0), (0.5, 0.25, 0.1), (1, 0, 0))
    s.box(frame, (0, 0, 0), (0.1, 0.2, 0.3), (0, 1, 0))
    s.cone(frame, (0, 0, 0), (1, 0, 0), 0.3, 0.1, (0, 0, 1))
    solids = s.solids()
    assert solids.ellipsoids.frame.tolist() == solids.boxes.frame.tolist() == [0, 1]
    # x of the frame points along +y and is twice as long: the ellipsoid's tip is 2 (1 + 0.5) up.
    tip = torch.tensor([[0.0, 3.0, 0.0], [5.0, 3.0, 0.0]])
    ball = solids.ellipsoids
    inside = torch.einsum("sij,sj->si", ball.matrix, tip - ball.center).norm(dim=-1)
    torch.testing.assert_close(inside, torch.ones(2))
    corner = torch.tensor([[-0.4, 0.2, 0.6], [4.6, 0.2, 0.6]])
    cube = solids.boxes
    unit = torch.einsum("sij,sj->si", cube.matrix, corner - cube.center)
    torch.testing.assert_close(unit.abs(), torch.ones(2, 3))
    torch.testing.assert_close(cube.radius, (corner - cube.center).norm(dim=-1))
    torch.testing.assert_close(solids.cones.b, torch.tensor([[0.0, 2.0, 0.0], [5.0, 2.0, 0.0]]))
    torch.testing.assert_close(solids.cones.ra, torch.tensor([0.6, 0.6]))


def test_cat_concatenates_frames() -> None:
    one, two = SceneBuilder(2), SceneBuilder(3)
    one.ball(Frame.world(2), (0, 0, 0), 1.0, (1, 1, 1))
    two.ball(Frame.world(3), (1, 0, 0), 1.0, (1, 1, 1))
    both = Solids.cat([one.solids(), two.solids()])
    assert both.frames == 5
    assert both.ellipsoids.frame.tolist() == [0, 1, 2, 3, 4]
    assert both.ellipsoids.center[:, 0].tolist() == [0, 0, 1, 1, 1]


def test_inverse_kinematics_reaches_targets_and_preserves_bone_lengths() -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=(200, 3))
    way = rng.normal(size=(200, 3))
    way *= (rng.uniform(0.05, 0.8, 200) / np.linalg.norm(way, axis=-1))[:, None]
    middle, end = two_bone_ik(start, start + way, 0.3, 0.28, rng.normal(size=(200, 3)))
    np.testing.assert_allclose(np.linalg.norm(middle - start, axis=-1), 0.3, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(end - middle, axis=-1), 0.28, atol=1e-9)
    near = np.linalg.norm(way, axis=-1) < 0.58 * 0.999
    assert 20 < near.sum() < 180
    np.testing.assert_allclose(end[near], (start + way)[near], atol=1e-9)
    # Targets out of reach: the limb points at the target, almost straight.
    stretched = np.linalg.norm(end - start, axis=-1)[~near]
    np.testing.assert_allclose(stretched, 0.58 * 0.999, atol=1e-9)
    assert (np.einsum("ni,ni->n", end - start, way)[~near] > 0).all()


def test_joints_bend_toward_their_pole() -> None:
    start, target = np.zeros((1, 3)), np.array([[0.0, -0.4, 0.0]])
    middle, _ = two_bone_ik(start, target, 0.3, 0.3, np.array([[0.0, 0.0, 1.0]]))
    assert middle[0, 2] > 0.2 and abs(middle[0, 0]) < 1e-12


@pytest.mark.parametrize("scale", [1.0, 0.74])
def test_posing_preserves_limb_lengths(scale: float) -> None:
    swing = np.linspace(-0.5, 0.5, 7)
    pose = Pose(
        lean=20, tilt=swing * 30, left_hand=(0.5, swing, 0.2), left_foot=(0.2, 0.1, swing), scale=scale
    )
    body = pose_body(pose, 7)
    lengths = [(UPPER_ARM, FOREARM)] * 2 + [(THIGH, SHIN)] * 2
    for (a, b, c), (upper, lower) in zip(body.arms + body.legs, lengths, strict=True):
        np.testing.assert_allclose(np.linalg.norm(b - a, axis=-1), upper * scale, rtol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(c - b, axis=-1), lower * scale, rtol=1e-9)


def test_the_left_of_a_figure_is_plus_x_and_its_face_plus_z() -> None:
    body = pose_body(Pose(), 1)
    assert body.left_hand.origin[0, 0] > 0.2 > -0.2 > body.right_hand.origin[0, 0]
    assert body.legs[0][2][0, 0] > 0 > body.legs[1][2][0, 0]
    np.testing.assert_allclose(body.head.rotation[0] @ [0, 0, 1], [0, 0, 1])
    turned = pose_body(Pose(look=90), 1)  # to its left
    np.testing.assert_allclose(turned.head.rotation[0] @ [0, 0, 1], [1, 0, 0], atol=1e-12)
