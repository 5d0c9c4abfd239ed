"""Regularizers against closed forms and explicit double sums."""

import math

import pytest
import torch

from dream3d.nerf.cameras import Cameras
from dream3d.nerf.radiance_fields import TARGET, DensityAndColor, RadianceField, VoxelField
from dream3d.nerf.volume_rendering import RaySamples, RenderedViews, render
from dream3d.optimization import regularizers

FRONT = Cameras(torch.zeros(1), torch.zeros(1))


class Ball(RadianceField):
    def forward(self, points):
        radius = (points - torch.tensor(TARGET)).norm(dim=-1)
        return DensityAndColor(200 * torch.sigmoid((0.7 - radius) * 60), torch.full_like(points, 0.5))


def rendered(field: RadianceField, **more) -> RenderedViews:
    return render(field, FRONT, 16, 48, torch.ones(3), early_stop=0, **more)


def flat(opacity: float) -> RenderedViews:
    opacity_map = torch.full((1, 1, 4, 4), opacity)
    return rendered(Ball())._replace(opacity=opacity_map)


def test_sparsity_and_entropy_of_uniform_opacity() -> None:
    assert regularizers.sparsity(flat(0.3)).item() == pytest.approx(math.sqrt(0.09 + 0.01))
    assert regularizers.entropy(flat(0.5)).item() == pytest.approx(1, abs=1e-6)
    expected = -(0.1 * math.log2(0.1) + 0.9 * math.log2(0.9))
    assert regularizers.entropy(flat(0.9)).item() == pytest.approx(expected, abs=1e-6)
    assert regularizers.entropy(flat(1.0)).item() < 1e-3


def test_distortion_is_the_double_sum() -> None:
    samples = rendered(VoxelField(8)).samples
    total, rays = 0.0, samples.ray.unique()
    for ray in rays:
        mine = samples.ray == ray
        weight, t, delta = (x[mine].double() for x in (samples.weight, samples.t, samples.delta))
        total += (weight[:, None] * weight[None] * (t[:, None] - t[None]).abs()).sum().item()
        total += (weight.square() * delta).sum().item() / 3
    assert regularizers.distortion(samples).item() == pytest.approx(total / len(rays), rel=1e-4)


def test_distortion_of_two_sheets_is_their_distance() -> None:
    half = torch.tensor([0.5, 0.5])
    nothing = torch.zeros(2, 3)
    ray, t, delta = torch.zeros(2, dtype=torch.long), torch.tensor([5.0, 6.0]), torch.zeros(2)
    sheets = RaySamples(ray, nothing, nothing, t, delta, half, half, None)
    assert regularizers.distortion(sheets).item() == pytest.approx(2 * 0.25)


def test_orientation_of_a_ball_and_of_one_with_inverted_normals() -> None:
    samples = rendered(Ball(), with_normals=True).samples
    assert samples.normal is not None
    assert regularizers.orientation(samples).item() < 1e-3
    assert regularizers.orientation(samples._replace(normal=-samples.normal)).item() > 0.1
    with pytest.raises(ValueError, match="normals"):
        regularizers.orientation(samples._replace(normal=None))


def test_a_ball_is_smoother_than_noise() -> None:
    rough = VoxelField(24)
    with torch.no_grad():
        rough.grid[:, :1] += 4 * torch.randn(
            rough.grid[:, :1].shape, generator=torch.Generator().manual_seed(0)
        )
    generator = torch.Generator().manual_seed(1)
    even, uneven = (
        regularizers.smoothness(field, rendered(field).samples, generator).item() for field in (Ball(), rough)
    )
    assert even < 1e-3 < 20 * even + 1e-3 < uneven


def test_empty_space_of_a_half_filled_box() -> None:
    class Half(RadianceField):
        def forward(self, points):
            full = (points[:, 0] < TARGET[0]).float()
            return DensityAndColor(1e4 * full, torch.full_like(points, 0.5))

    measured = regularizers.empty_space(Half(), torch.Generator().manual_seed(0)).item()
    assert measured == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(regularizers.POINTS))
    thin = VoxelField(4, blob=None)  # density 25 log 2 everywhere, in a box of side 2.5
    expected = math.exp(-25 * math.log(2) * 2.5 / 32)
    assert regularizers.empty_space(thin, torch.Generator()).item() == pytest.approx(expected, rel=1e-4)


def test_gradients_of_all_regularizers_reach_the_field() -> None:
    field = VoxelField(12)
    renders = rendered(field, with_normals=True)
    losses = (
        regularizers.sparsity(renders),
        regularizers.entropy(renders),
        regularizers.distortion(renders.samples),
        regularizers.orientation(renders.samples),
        regularizers.empty_space(field, torch.Generator().manual_seed(0)),
        regularizers.smoothness(field, renders.samples, torch.Generator().manual_seed(0)),
    )
    for loss in losses:
        (gradient,) = torch.autograd.grad(loss, field.grid, retain_graph=True)
        assert gradient[:, 0].abs().sum() > 0 and gradient.isfinite().all()
