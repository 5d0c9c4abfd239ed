"""Ray casting: cameras, culling, supersampling, alpha, depth, shadow. Meshes as reference: tests/oracles."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from core.toybox.camera import Camera, Crop
from core.toybox.ray_intersections import PixelGrid
from core.toybox.render import SceneRender, render
from core.toybox.scenes import Scene, named_scene, render_scenes
from core.toybox.solids import Frame, SceneBuilder, Solids, rotation

RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)


def camera(azimuth: float = 0.0, elevation: float = 0.0, count: int = 1) -> Camera:
    return Camera(torch.full((count,), azimuth), torch.full((count,), elevation))


def balls(
    *placed: tuple[tuple[float, float, float], tuple[float, float, float]], radius: float = 0.3
) -> Solids:
    s = SceneBuilder(1)
    for center, color in placed:
        s.ball(Frame.world(1), center, radius, color)
    return s.solids()


def middle_of(picture: SceneRender) -> tuple[float, float]:
    """Mean position (right, up) of the covered pixels, relative to the center of the image, in [-1,1]."""
    alpha = picture.alpha[0, 0]
    position = (torch.arange(len(alpha)) + 0.5) / len(alpha) * 2 - 1
    return float((alpha * position).sum() / alpha.sum()), float(
        (alpha * -position[:, None]).sum() / alpha.sum()
    )


def random_solids(rng: np.random.Generator, count: int = 40) -> Solids:
    """Solids of random shapes and sizes, inside, on and beyond the border of the image."""
    s = SceneBuilder(1)
    world = Frame.world(1)
    for _ in range(count):
        turn = rotation("x", rng.uniform(0, 360)) @ rotation("z", rng.uniform(0, 360))
        size = np.exp(rng.uniform(math.log(0.02), math.log(0.45), 3))
        places = rng.uniform(-1.4, 1.4, (3, 3)) + [0, 1, 0]
        s.ball(world, places[0], size, rng.random(3), turn)
        s.box(world, places[1], size, rng.random(3), turn)
        s.cone(
            world, places[2], places[2] + rng.normal(size=3) * 0.4, size[0] / 2, size[1] / 2, rng.random(3)
        )
    return s.solids()


def test_plus_x_is_right_and_up_is_up() -> None:
    right, up = middle_of(render(balls(((0.6, 1.5, 0.0), RED)), camera(), 64))
    # Pinhole at distance 7, half of the 20 degrees on each side.
    edge = 7 * math.tan(math.radians(10))
    assert right == pytest.approx(0.6 / edge, abs=0.01)
    assert up == pytest.approx(0.5 / edge, abs=0.01)


def test_azimuth_grows_counter_clockwise() -> None:
    """At azimuth 90 the camera is on +x: +x is straight ahead and -z is to the right."""
    right, _ = middle_of(render(balls(((0.6, 1.0, 0.0), RED)), camera(90), 64))
    assert abs(right) < 0.01
    right, _ = middle_of(render(balls(((0.0, 1.0, -0.6), RED)), camera(90), 64))
    assert right > 0.4
    eye, axes = camera(90).axes()
    torch.testing.assert_close(eye, torch.tensor([[7.0, 1.0, 0.0]]), atol=1e-5, rtol=0)
    assert torch.linalg.det(axes).item() == pytest.approx(1.0)


@pytest.mark.parametrize(("azimuth", "first"), [(0, RED), (180, BLUE)])
def test_the_nearer_solid_occludes_the_farther(azimuth: float, first: tuple[float, float, float]) -> None:
    picture = render(balls(((0, 1, 0.6), RED), ((0, 1, -0.6), BLUE)), camera(azimuth), 64)
    middle = picture.color[0, :, 32, 32]
    assert int(middle.argmax()) == int(np.argmax(first))
    assert picture.depth[0, 0, 32, 32].item() == pytest.approx(7 - 0.6 - 0.3, abs=1e-3)


def test_positive_elevation_looks_from_above() -> None:
    behind = balls(((0, 1, -0.6), RED))
    up, distance = 0.6 * math.sin(math.radians(40)), 7 + 0.6 * math.cos(math.radians(40))
    rendered_up = middle_of(render(behind, camera(0, 40), 64))[1]
    assert rendered_up == pytest.approx(up / distance / math.tan(math.radians(10)), abs=0.01)
    assert middle_of(render(behind, camera(0, -8), 64))[1] < -0.02
    # A flat horizontal disc shows its face only from above.
    s = SceneBuilder(1)
    s.ball(Frame.world(1), (0, 1, 0), (0.6, 0.01, 0.6), RED)
    disc = s.solids()
    edge_on, from_above = (render(disc, camera(0, el), 64).alpha.sum().item() for el in (0, 45))
    assert from_above > 10 * edge_on


def test_a_ball_covers_the_area_of_its_outline() -> None:
    """The outline of a ball of radius r at distance d is the cone of half angle asin(r/d)."""
    picture = render(balls(((0, 1, 0), RED), radius=0.8), camera(), 128)
    outline = math.tan(math.asin(0.8 / 7)) / math.tan(math.radians(10))
    assert picture.alpha.mean().item() == pytest.approx(math.pi * outline**2 / 4, rel=2e-3)


def all_tiles(self: PixelGrid, a: Tensor, b: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Replaces `PixelGrid.covered`: every solid in every tile."""
    solid, tile = torch.meshgrid(torch.arange(len(a)), torch.arange(self.tiles**2), indexing="ij")
    return solid.flatten(), tile.flatten()


def brute_force(solids: Solids, view: Camera, size: int, monkeypatch: pytest.MonkeyPatch) -> SceneRender:
    with monkeypatch.context() as patch:
        patch.setattr(PixelGrid, "covered", all_tiles)
        return render(solids, view, size, 1)


@pytest.mark.parametrize("seed", range(6))
def test_culling_loses_no_hit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    solids = random_solids(rng)
    view = camera(rng.uniform(0, 360), rng.uniform(-8, 60))
    culled, full = render(solids, view, 64, 1), brute_force(solids, view, 64, monkeypatch)
    for name in SceneRender._fields:
        assert torch.equal(getattr(culled, name), getattr(full, name)), name
    assert 0.2 < culled.alpha.mean() < 0.95


def test_culling_loses_no_hit_of_a_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    solids = Scene(1, 9, 4, 2).solids(np.array([0.0, 0.4]))
    view = camera(33, 13, 2)
    culled, full = render(solids, view, 32, 1), brute_force(solids, view, 32, monkeypatch)
    assert torch.equal(culled.depth, full.depth) and torch.equal(culled.color, full.color)


def test_a_pixel_averages_its_rays_and_has_the_nearest_depth() -> None:
    solids = Scene(0, 3, 0, 2).solids(np.array([0.3]))
    fine, coarse = render(solids, camera(20, 12), 128, 1), render(solids, camera(20, 12), 64, 2)
    for name in ("color", "alpha"):
        expected = torch.nn.functional.avg_pool2d(getattr(fine, name), 2)
        torch.testing.assert_close(getattr(coarse, name), expected)
    depth = fine.depth[0, 0].reshape(64, 2, 64, 2).amin((1, 3))
    assert torch.equal(coarse.depth[0, 0], depth)
    assert set(coarse.alpha.unique().tolist()) == {0.0, 0.25, 0.5, 0.75, 1.0}
    assert torch.equal(coarse.depth.isfinite(), coarse.alpha > 0)
    assert coarse.color.min() >= 0 and (coarse.color <= coarse.alpha + 1e-6).all()


def test_a_batch_renders_like_single_frames() -> None:
    scene, phases = Scene(6, 8, 1, 2), np.array([0.1, 0.35, 0.8])
    many = render(
        scene.solids(phases), Camera(torch.tensor([0.0, 120, 250]), torch.tensor([5.0, 12, 30])), 64
    )
    for i, (azimuth, elevation) in enumerate(((0, 5), (120, 12), (250, 30))):
        one = render(scene.solids(phases[i : i + 1]), camera(azimuth, elevation), 64)
        for name in SceneRender._fields:
            torch.testing.assert_close(getattr(many, name)[i], getattr(one, name)[0], atol=1e-5, rtol=1e-5)


def test_the_shadow_lies_on_the_ground_away_from_the_light() -> None:
    shadow = render(balls(((0, 0.3, 0), RED)), camera(0, 20), 64).shadow[0, 0]
    assert shadow.min() >= 0 and shadow.max() <= 1
    dark = torch.nonzero(shadow > 0.5).float().mean(0)
    assert dark[1] > 34  # the light comes from the left
    assert shadow[:8].max() == 0  # above the horizon there is no ground
    high = render(balls(((0, 1.8, 0), RED)), camera(0, 20), 64).shadow[0, 0]
    assert high.sum() < shadow.sum()  # most of it has left the picture


def test_without_texture_a_ball_is_gray_under_a_light_over_the_left_shoulder() -> None:
    azimuth, size = 75.0, 64  # the light goes with the camera
    placed = balls(((0, 1, 0), RED), radius=0.8)
    rendered = render(placed, camera(azimuth), size, 1, textureless=True)
    colored = render(placed, camera(azimuth), size, 1)
    assert torch.equal(rendered.alpha, colored.alpha) and torch.equal(rendered.depth, colored.depth)

    # In camera axes: rays (x, y, -1) from the eye meet the ball about (0, 0, -7) first at the nearer root.
    at = ((np.arange(size) + 0.5) / size * 2 - 1) * math.tan(math.radians(10))
    ray = np.stack([*np.meshgrid(at, -at), np.full((size, size), -1.0)], -1)
    square, slope = (ray**2).sum(-1), 7.0  # ray . center
    root = slope**2 - square * (49 - 0.8**2)
    hit = root > 1e-3
    depth = (slope - np.sqrt(root.clip(0))) / square
    normal = (ray * depth[..., None] - (0, 0, -7)) / 0.8
    light = np.array([-0.45, 0.6, 0.66]) / np.linalg.norm([-0.45, 0.6, 0.66])
    gray = 200 / 255 * (0.6 + 0.45 * (normal @ light).clip(0)).clip(0, 1)
    for channel in rendered.color[0].numpy():
        np.testing.assert_allclose(channel[hit], gray[hit], atol=2e-3)


@pytest.mark.parametrize("backdrop", ["on a pink background", "in the rain"])
@pytest.mark.parametrize("place", [(0, 0, 64), (70, 101, 60), (160, 96, 96)])
def test_a_crop_equals_that_part_of_the_image(backdrop: str, place: tuple[int, int, int]) -> None:
    scene = [named_scene("fox", "waving", backdrop=backdrop)]
    shared = torch.tensor([0.1, 0.6]), camera(25, 13, 2), torch.ones(2, dtype=torch.bool), 256
    full, full_render = render_scenes(scene, *shared)
    part, part_render = render_scenes(scene, *shared, crop=Crop(*place))
    top, left, side = place
    window = (..., slice(top, top + side), slice(left, left + side))
    torch.testing.assert_close(part, full[window], rtol=0, atol=1e-3)
    for ours, whole in zip(part_render, full_render, strict=True):
        assert ours.shape[-2:] == (side, side)
        torch.testing.assert_close(ours, whole[window], rtol=0, atol=1e-3)


def test_a_crop_casts_only_its_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    cast: list[int] = []
    evaluate = PixelGrid.evaluate

    def counted(self: PixelGrid, forms: Tensor, tile: Tensor) -> Tensor:
        cast.append(len(tile))
        return evaluate(self, forms, tile)

    monkeypatch.setattr(PixelGrid, "evaluate", counted)
    solids = Scene(1, 9, 4, 2).solids(np.array([0.2]))
    render(solids, camera(), 256)
    whole = sum(cast)
    cast.clear()
    render(solids, camera(), 256, crop=Crop(64, 96, 64))
    assert 0 < sum(cast) < 0.3 * whole  # a sixteenth of the image, in its middle


def test_shadows_of_large_images_are_smooth() -> None:
    """At 256 pixels the shadow is that of 1024 pixels; an evaluation at every fourth pixel misses it."""
    solids = Scene(6, 25, 0, 2).solids(np.array([0.3]))
    fine = render(solids, camera(25, 13), 1024, 1).shadow
    expected = torch.nn.functional.avg_pool2d(fine, 4)
    error = (render(solids, camera(25, 13), 256, 1).shadow - expected).abs()
    assert error.max() < 0.06 and error[expected > 0.05].mean() < 0.01


@pytest.mark.parametrize("crop", [Crop(0, 0, 72), Crop(-8, 0, 16), Crop(56, 60, 8), Crop(0, 0, 0)])
def test_crops_beyond_the_image_raise(crop: Crop) -> None:
    with pytest.raises(ValueError, match="is not inside of an image of 64 pixels"):
        render(balls(((0, 1, 0), RED)), camera(), 64, crop=crop)


@pytest.mark.parametrize("size", [0, 60, 100])
def test_sizes_that_are_no_multiple_of_8_raise(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        render(balls(((0, 1, 0), RED)), camera(), size)


def test_every_frame_needs_a_camera() -> None:
    with pytest.raises(ValueError, match="1 frames need as many cameras"):
        render(balls(((0, 1, 0), RED)), camera(count=2), 64)
