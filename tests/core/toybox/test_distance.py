"""Signed distances against closed forms, points on surfaces, and the ray caster's silhouettes."""

import numpy as np
import pytest
import torch

from core.toybox.actions import ACTIONS
from core.toybox.camera import Camera, rays
from core.toybox.distance import signed_distance
from core.toybox.render import render
from core.toybox.scenes import Scene, index_of
from core.toybox.solids import Frame, SceneBuilder, rotation
from core.toybox.subjects import SUBJECTS


def build_solid(kind: str, *arguments):
    builder = SceneBuilder(1)
    getattr(builder, kind)(Frame.world(1).child((0.3, -0.2, 0.1)), *arguments)
    return builder.solids()


def random_points(count: int) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) * 4 - 2


def test_a_ball() -> None:
    points = random_points(200)
    distance, color = signed_distance(build_solid("ball", (0, 1, 0), 0.5, (1, 0, 0)), points)
    expected = (points - torch.tensor([0.3, 0.8, 0.1])).norm(dim=1) - 0.5
    torch.testing.assert_close(distance, expected, atol=1e-5, rtol=0)
    assert (color == torch.tensor([1.0, 0, 0])).all()


def test_a_round_cone_is_the_hull_of_its_balls() -> None:
    """Its distance is the minimum over all balls between the two, whose envelope is the cone's surface."""
    points = random_points(200)
    a, b, ra, rb = torch.tensor([0.0, 0, 0]), torch.tensor([0.5, 1.0, -0.4]), 0.4, 0.1
    distance, _ = signed_distance(build_solid("cone", a.numpy(), b.numpy(), ra, rb, (1, 1, 1)), points)
    share = torch.linspace(0, 1, 4001)[:, None]
    centers, radii = a + (b - a) * share + torch.tensor([0.3, -0.2, 0.1]), ra + (rb - ra) * share[:, 0]
    expected = ((points[:, None] - centers).norm(dim=2) - radii).amin(1)
    torch.testing.assert_close(distance, expected, atol=1e-4, rtol=0)


def test_a_cone_within_its_larger_ball() -> None:
    points = random_points(50)
    distance, _ = signed_distance(build_solid("cone", (0, 0, 0), (0, 0.1, 0), 0.5, 0.2, (1, 1, 1)), points)
    expected = (points - torch.tensor([0.3, -0.2, 0.1])).norm(dim=1) - 0.5
    torch.testing.assert_close(distance, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["ball", "box"])
def test_affine_solids_have_the_right_sign_and_slope(kind: str) -> None:
    turn, half = rotation("z", 30.0), np.array([0.6, 0.3, 0.2])
    solids = build_solid(kind, (0, 0, 0), half, (1, 1, 1), turn)
    unit = random_points(300) / 2 * 1.5
    points = torch.from_numpy(turn @ (unit.numpy() * half).T).T.float() + torch.tensor([0.3, -0.2, 0.1])
    distance, _ = signed_distance(solids, points)
    norm = unit.norm(dim=1) if kind == "ball" else unit.abs().amax(1)
    assert torch.equal(distance < 0, norm < 1)
    assert distance[(norm - 1).abs() < 0.05].abs().max() < 0.05 * half.max()


def test_distance_is_zero_at_the_depths_of_the_ray_caster() -> None:
    scene = Scene(index_of(SUBJECTS, "fox"), index_of(ACTIONS, "holding a game controller"), 0, 0)
    solids = scene.solids(np.zeros(1))
    camera = Camera(torch.tensor([30.0]), torch.tensor([10.0]))
    rendered = render(solids, camera, 32, 1)
    eye, axes = camera.axes()
    ahead = rays(32).reshape(-1, 3) @ axes[0].T
    hit = rendered.alpha[0, 0].flatten() > 0.5
    depth = rendered.depth[0, 0].flatten()
    surface = eye + depth[hit, None] * ahead[hit]
    distance, _ = signed_distance(solids, surface)
    assert distance.abs().median() < 1e-3 and distance.abs().max() < 0.02
    # Along rays that miss everything, nothing is inside.
    missed = eye + torch.linspace(5.5, 8.5, 60)[:, None, None] * ahead[~hit]
    assert (signed_distance(solids, missed.reshape(-1, 3))[0] > -1e-3).all()
