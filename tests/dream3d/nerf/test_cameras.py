"""Cameras, orbits, the distribution of training cameras, and point lights."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from core.toybox import camera as toybox
from dream3d.nerf.cameras import (
    TARGET,
    CameraDistribution,
    Cameras,
    PixelStride,
    orbit_cameras,
    point_lights,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def degrees(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def test_rays_are_the_toyboxs() -> None:
    azimuth, elevation = degrees(0, 77, 201, -30), degrees(0, -10, 35, 60)
    eye, axes = toybox.Camera(azimuth, elevation).axes()
    expected = torch.einsum("nij,hwj->nhwi", axes, toybox.rays(16))
    origins, directions = Cameras(azimuth, elevation).rays(16)
    assert torch.equal(origins, eye)
    torch.testing.assert_close(directions, normalize(expected, dim=-1), atol=1e-6, rtol=0)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(4, 16, 16))
    assert (directions[0, 0, :, 1] > 0).all() and (
        directions[0, :, 0, 0] < 0
    ).all()  # row 0 up, column 0 left


def test_rays_of_some_pixels_are_those_of_the_whole_image() -> None:
    cameras, pixels = Cameras(degrees(20, 200, 77), degrees(0, 30, -10)), PixelStride(4, row=3, column=1)
    every, some = cameras.rays(12)[1], cameras.rays(12, pixels)[1]
    torch.testing.assert_close(some, every[:, 3::4, 1::4])


def test_each_camera_has_its_distance_field_of_view_and_target() -> None:
    target = torch.tensor([[0.1, 0.9, -0.2], [0.0, 1.2, 0.3]])
    cameras = Cameras(degrees(40, 300), degrees(10, -5), degrees(3, 9), degrees(50, 14), target)
    origins, directions = cameras.rays(2)
    torch.testing.assert_close((origins - target).norm(dim=-1), degrees(3, 9))
    forward = normalize(target - origins, dim=-1)
    torch.testing.assert_close(normalize(directions.mean((1, 2)), dim=-1), forward, atol=1e-6, rtol=0)
    # With two pixels a side, rays are half way to the border, horizontally and vertically.
    for i, view in enumerate((50, 14)):
        off = math.atan(math.tan(math.radians(view / 2)) / 2 * math.sqrt(2))
        cosine = directions[i] @ forward[i]
        torch.testing.assert_close(cosine, torch.full((2, 2), math.cos(off)), atol=1e-6, rtol=0)


def test_indexing_by_slice_indices_and_mask() -> None:
    cameras = CameraDistribution(jitter=0.2, distance=(5, 8)).sample(5, seeded())
    origins, directions = cameras.rays(4)
    for index in (slice(1, 3), torch.tensor([4, 0]), torch.tensor([True, False, True, False, False])):
        selected = cameras[index]
        assert len(selected) == 2
        assert torch.equal(selected.rays(4)[0], origins[index])
        torch.testing.assert_close(selected.rays(4)[1], directions[index], atol=1e-6, rtol=0)
    assert len(Cameras(degrees(0, 1, 2), degrees(0, 1, 2))[:2].rays(2)[0]) == 2


def test_elevation_is_half_uniform_in_angle_and_half_in_area() -> None:
    """The empirical distribution against the closed form; 0.0115 is Kolmogorov's 1% bound for 20000 draws."""
    count = 20000
    cameras = CameraDistribution().sample(count, seeded(1))
    elevation = cameras.elevation.double().sort().values
    low, high = math.radians(-10), math.radians(60)
    angle = torch.deg2rad(elevation)
    by_angle = (angle - low) / (high - low)
    by_area = (angle.sin() - math.sin(low)) / (math.sin(high) - math.sin(low))
    rank = (torch.arange(count) + 0.5) / count
    assert ((by_angle + by_area) / 2 - rank).abs().max() < 0.0115
    assert (by_angle - rank).abs().max() > 0.02 and (by_area - rank).abs().max() > 0.02  # neither alone
    assert (cameras.azimuth.sort().values / 360 - rank).abs().max() < 0.0115
    assert elevation[0] >= -10 and elevation[-1] <= 60
    assert (cameras.rays(1)[0] - torch.tensor(TARGET)).norm(dim=-1).sub(7).abs().max() < 1e-4


def test_ranges_of_distance_field_of_view_and_jitter() -> None:
    distribution = CameraDistribution(elevation=(20, 20), distance=(6, 8), field_of_view=(15, 25), jitter=0.1)
    cameras = distribution.sample(500, seeded(2))
    assert (cameras.elevation == 20).all()
    for values, low, high in ((cameras.distance, 6, 8), (cameras.field_of_view, 15, 25)):
        assert low <= values.min() < low + 0.1 and high - 0.1 < values.max() <= high
    off = cameras.target - torch.tensor(TARGET)
    assert 0.09 < off.abs().max() <= 0.1001 and off.mean(0).abs().max() < 0.01


def test_even_azimuths_start_at_a_random_angle() -> None:
    one, other = (CameraDistribution().sample(4, seeded(s), evenly=True).azimuth for s in (0, 1))
    for azimuth in (one, other):
        assert azimuth.min() >= 0 and azimuth.max() < 360
        torch.testing.assert_close(azimuth.sort().values.diff(), torch.full((3,), 90.0), atol=1e-3, rtol=0)
    assert abs(float(one.min() - other.min())) > 1


def test_one_seed_gives_the_same_cameras() -> None:
    one, other = (CameraDistribution(jitter=0.1).sample(6, seeded(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def test_point_lights_are_mostly_on_the_cameras_side() -> None:
    cameras = CameraDistribution().sample(4000, seeded(4))
    target = torch.tensor(TARGET)
    unspread = point_lights(cameras, seeded(5), spread=0) - target
    to_eye = normalize(cameras.rays(1)[0] - target, dim=-1)
    torch.testing.assert_close(normalize(unspread, dim=-1), to_eye, atol=1e-5, rtol=0)
    assert unspread.norm(dim=-1).min() > 0.64 * 7 and unspread.norm(dim=-1).max() < 1.2 * 7
    cosine = (normalize(point_lights(cameras, seeded(5)) - target, dim=-1) * to_eye).sum(-1)
    # P(1 + 0.8 x > 0) for a standard normal x.
    expected = 0.5 * (1 + math.erf(1 / 0.8 / math.sqrt(2)))
    assert (cosine > 0).float().mean().item() == pytest.approx(expected, abs=0.02)


def test_orbit_cameras_by_number_and_by_azimuths() -> None:
    four = orbit_cameras(4)
    assert four.azimuth.tolist() == [0, 90, 180, 270] and four.elevation.tolist() == [13.0] * 4
    canonical = Cameras(four.azimuth, four.elevation)
    assert all(torch.equal(a, b) for a, b in zip(four.rays(4), canonical.rays(4), strict=True))
    other = orbit_cameras([30, 200], 20.0, 3.0, 40.0, (0.0, 2.0, 1.0))
    assert other.azimuth.tolist() == [30, 200] and other.elevation.tolist() == [20, 20]
    assert (other.distance, other.field_of_view, other.target) == (3.0, 40.0, (0.0, 2.0, 1.0))


def test_numpy_cameras_are_the_closed_form_in_double_precision() -> None:
    """Eye = target + d (sin a cos e, sin e, cos a cos e), and the axes are its derivatives' directions."""
    target = torch.tensor([[0.1, 0.9, -0.2], [0.0, 1.2, 0.3]])
    azimuth, elevation, distance = degrees(40, 300), degrees(10, -5), degrees(3, 9)
    eye, axes, view = Cameras(azimuth, elevation, distance, degrees(50, 14), target).to_numpy()
    assert eye.dtype == axes.dtype == view.dtype == np.float64 and view.tolist() == [50, 14]
    a, e = (np.deg2rad(x.double().numpy()) for x in (azimuth, elevation))
    back = np.stack([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)], -1)
    right = np.stack([np.cos(a), 0 * a, -np.sin(a)], -1)
    up = np.stack([-np.sin(a) * np.sin(e), np.cos(e), -np.cos(a) * np.sin(e)], -1)
    np.testing.assert_allclose(axes, np.stack([right, up, back], -1), atol=1e-6)
    np.testing.assert_allclose(eye, target.numpy() + distance.numpy()[:, None] * back, atol=3e-6)


def test_invalid_cameras_are_refused() -> None:
    with pytest.raises(ValueError, match="must both be"):
        Cameras(degrees(0, 1), degrees(0))
    with pytest.raises(ValueError, match="range of distance is empty"):
        CameraDistribution(distance=(8, 7))
    with pytest.raises(ValueError, match="between -90 and 90"):
        CameraDistribution(elevation=(-10, 100))
