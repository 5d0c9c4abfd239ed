"""Regularizers against closed forms and against the sums that they abbreviate."""

import math

import pytest
import torch

from dream3d.nerf.cameras import Cameras
from dream3d.nerf.radiance_fields import TARGET, DensityAndColor, RadianceField, VoxelField
from dream3d.nerf.volume_rendering import RaySamples, RenderedViews, render
from dream3d.optimization import regularizers as regularize

FRONT = Cameras(torch.zeros(1), torch.zeros(1))


class Ball(RadianceField):
    def forward(self, points):
        away = (points - torch.tensor(TARGET)).norm(dim=-1)
        return DensityAndColor(200 * torch.sigmoid((0.7 - away) * 60), torch.full_like(points, 0.5))


def seen(field: RadianceField, **more) -> RenderedViews:
    return render(field, FRONT, 16, 48, torch.ones(3), early_stop=0, **more)


def flat(opacity: float) -> RenderedViews:
    picture = torch.full((1, 1, 4, 4), opacity)
    return seen(Ball())._replace(opacity=picture)


def test_sparsity_and_entropy_of_even_pictures() -> None:
    assert regularize.sparsity(flat(0.3)).item() == pytest.approx(math.sqrt(0.09 + 0.01))
    assert regularize.entropy(flat(0.5)).item() == pytest.approx(1, abs=1e-6)
    expected = -(0.1 * math.log2(0.1) + 0.9 * math.log2(0.9))
    assert regularize.entropy(flat(0.9)).item() == pytest.approx(expected, abs=1e-6)
    assert regularize.entropy(flat(1.0)).item() < 1e-3


def test_distortion_is_the_double_sum() -> None:
    samples = seen(VoxelField(8)).samples
    total, rays = 0.0, samples.ray.unique()
    for ray in rays:
        mine = samples.ray == ray
        weight, t, delta = (x[mine].double() for x in (samples.weight, samples.t, samples.delta))
        total += (weight[:, None] * weight[None] * (t[:, None] - t[None]).abs()).sum().item()
        total += (weight.square() * delta).sum().item() / 3
    assert regularize.distortion(samples).item() == pytest.approx(total / len(rays), rel=1e-4)


def test_distortion_of_two_sheets_is_their_distance() -> None:
    half = torch.tensor([0.5, 0.5])
    nothing = torch.zeros(2, 3)
    ray, t, delta = torch.zeros(2, dtype=torch.long), torch.tensor([5.0, 6.0]), torch.zeros(2)
    sheets = RaySamples(ray, nothing, nothing, t, delta, half, half, None)
    assert regularize.distortion(sheets).item() == pytest.approx(2 * 0.25)


def test_a_ball_faces_the_eye_and_an_inside_out_one_does_not() -> None:
    samples = seen(Ball(), with_normals=True).samples
    assert samples.normal is not None
    assert regularize.orientation(samples).item() < 1e-3
    assert regularize.orientation(samples._replace(normal=-samples.normal)).item() > 0.1
    with pytest.raises(ValueError, match="normals"):
        regularize.orientation(samples._replace(normal=None))


def test_a_ball_is_smoother_than_noise() -> None:
    rough = VoxelField(24)
    with torch.no_grad():
        rough.grid[:, :1] += 4 * torch.randn(
            rough.grid[:, :1].shape, generator=torch.Generator().manual_seed(0)
        )
    generator = torch.Generator().manual_seed(1)
    even, uneven = (
        regularize.smoothness(field, seen(field).samples, generator).item() for field in (Ball(), rough)
    )
    assert even < 1e-3 < 20 * even + 1e-3 < uneven


def test_hollowness_of_a_box_half_filled() -> None:
    class Half(RadianceField):
        def forward(self, points):
            full = (points[:, 0] < TARGET[0]).float()
            return DensityAndColor(1e4 * full, torch.full_like(points, 0.5))

    measured = regularize.empty_space(Half(), torch.Generator().manual_seed(0)).item()
    assert measured == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(regularize.POINTS))
    thin = VoxelField(4, blob=None)  # density 25 log 2 everywhere, in a box of side 2.5
    expected = math.exp(-25 * math.log(2) * 2.5 / 32)
    assert regularize.empty_space(thin, torch.Generator()).item() == pytest.approx(expected, rel=1e-4)


def test_regularizers_reach_the_field() -> None:
    field = VoxelField(12)
    picture = seen(field, with_normals=True)
    losses = (
        regularize.sparsity(picture),
        regularize.entropy(picture),
        regularize.distortion(picture.samples),
        regularize.orientation(picture.samples),
        regularize.empty_space(field, torch.Generator().manual_seed(0)),
        regularize.smoothness(field, picture.samples, torch.Generator().manual_seed(0)),
    )
    for loss in losses:
        (gradient,) = torch.autograd.grad(loss, field.grid, retain_graph=True)
        assert gradient[:, 0].abs().sum() > 0 and gradient.isfinite().all()
