"""Ground truth of eyes, against the pixels that change when the eyes are painted in another color."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from core.toybox.camera import Camera
from core.toybox.eyes import Eyes, find_eyes
from core.toybox.render import render
from core.toybox.scenes import Scene, named_scene, random_scene, render_scenes
from core.toybox.solids import Solids
from core.toybox.subjects import SUBJECTS

SIZE = 128
EYELESS = ("astronaut",)


def eyes_of(scene: Scene, phase: float, azimuth: float, elevation: float = 13.0) -> Eyes:
    moment, camera = torch.tensor([phase]), Camera(torch.tensor([azimuth]), torch.tensor([elevation]))
    _, picture = render_scenes([scene], moment, camera, torch.ones(1, dtype=torch.bool), SIZE)
    return find_eyes([scene], moment, camera, picture.depth)


def painted(solids: Solids, centers: Tensor, radii: Tensor, eye: int) -> Solids:
    """The solids in black, with the ellipsoids of one eye in white: those that touch its front point."""
    balls = solids.ellipsoids
    offset = centers[0, eye] - balls.center
    reach = (torch.einsum("sij,sj->si", balls.matrix, offset)).norm(dim=-1)
    part = (reach < 2) & (balls.radius < 1.7 * radii[0, eye])
    white = part[:, None].float().expand(-1, 3)
    black = [replace(s, color=torch.zeros_like(s.color)) for s in (solids.boxes, solids.cones)]
    return Solids(solids.frames, replace(balls, color=white), *black)


def test_visible_eyes_are_those_that_show_pixels() -> None:
    rng = np.random.default_rng(3)
    shares: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(60):
        scene = random_scene(rng)
        phase, azimuth = float(rng.random()), float(rng.uniform(-180, 180))
        found = eyes_of(scene, phase, azimuth)
        builder = scene.build(np.array([phase]))
        places, radii = (torch.from_numpy(part).float() for part in builder.eyes())
        camera = Camera(torch.tensor([azimuth]), torch.tensor([13.0]))
        for eye in range(radii.shape[1]):
            alone = painted(builder.solids(), places[..., :3], radii, eye)
            area = (render(alone, camera, SIZE).color[0] > 0.25).any(0).float().mean().item()
            share = area / (np.pi * found.radius[0, eye].item() ** 2)
            if not found.doubtful[0, eye]:
                shares[bool(found.visible[0, eye])].append(share)
    visible, hidden = np.array(shares[True]), np.array(shares[False])
    assert len(visible) > 25 and len(hidden) > 25
    assert (visible > 0.3).mean() > 0.95, np.sort(visible)[:9]
    # From behind, slivers of protruding eyes remain beside the head.
    assert (hidden < 0.15).mean() > 0.9, np.sort(hidden)[-9:]


@pytest.mark.parametrize("subject", [subject.name for subject in SUBJECTS])
def test_every_face_has_two_eyes_seen_from_the_front_and_none_from_behind(subject: str) -> None:
    scene = named_scene(subject, "standing")
    front, back = eyes_of(scene, 0.2, 0.0), eyes_of(scene, 0.2, 180.0)
    assert front.visible.shape == (1, 0 if subject in EYELESS else 2)
    assert bool(front.pair) == (subject not in EYELESS)
    assert not back.visible.any()
    if subject not in EYELESS:
        left, right = front.position[0, :, 0]
        assert left > 0.5 > right  # the figure's left is on the right of the image


def test_a_raised_book_hides_eyes_and_riders_have_those_of_the_horse() -> None:
    ridden = eyes_of(named_scene("fox", "riding a horse"), 0.2, 20.0)
    assert ridden.visible.shape == (1, 4)
    pair = eyes_of(named_scene("fox", "standing", group="pair"), 0.2, 0.0)
    assert pair.visible.tolist() == [[True] * 4]


def test_batches_pad_images_with_fewer_eyes() -> None:
    scenes = [named_scene(name, "standing") for name in ("astronaut", "fox")]
    moment, camera = torch.tensor([0.2, 0.2]), Camera(torch.zeros(2), torch.full((2,), 13.0))
    _, picture = render_scenes(scenes, moment, camera, torch.ones(2, dtype=torch.bool), SIZE)
    both = find_eyes(scenes, moment, camera, picture.depth)
    assert both.visible.tolist() == [[False, False], [True, True]] and both.pair.tolist() == [False, True]
    torch.testing.assert_close(both.position[1], eyes_of(scenes[1], 0.2, 0.0).position[0])
