"""The volume renderer against closed forms, nerfacc's batched functions and the toybox's ray caster."""

import math

import pytest
import torch
from nerfacc.volrend import accumulate_along_rays, render_weight_from_density
from torch import Tensor

from core.toybox import camera as toybox
from core.toybox import render as caster
from core.toybox.solids import Frame, SceneBuilder, Solids, rotation
from dream3d.nerf.cameras import TARGET, CameraDistribution, Cameras
from dream3d.nerf.radiance_fields import DensityAndColor, RadianceField, VoxelField
from dream3d.nerf.volume_rendering import render

COLOR = torch.tensor([0.2, 0.6, 0.9])
BACKGROUND = torch.tensor([1.0, 0.5, 0.0])


class UniformBall(RadianceField):
    """Constant density and color in a ball."""

    def __init__(self, center: Tensor, radius: float, density: float) -> None:
        super().__init__()
        self.center, self.radius, self.inside = center, radius, density

    def forward(self, points: Tensor) -> DensityAndColor:
        density = self.inside * ((points - self.center).norm(dim=-1) < self.radius)
        return DensityAndColor(density, COLOR.expand_as(points))


@pytest.mark.parametrize(("radius", "density"), [(0.9, 0.3), (0.9, 2.0), (0.5, 9.0)])
def test_a_uniform_ball(radius: float, density: float) -> None:
    """Along a chord at impact b: opacity 1 - exp(-2 d sqrt(R^2 - b^2)), and the mean depth of an exponential
    distribution cut off at the chord's end."""
    cameras = CameraDistribution().sample(2, torch.Generator().manual_seed(0))
    center = torch.tensor(TARGET) + torch.tensor([0.1, -0.2, 0.15])
    samples = 2048  # midpoints miss each end of a chord by at most half an interval
    picture = render(UniformBall(center, radius, density), cameras, 12, samples, BACKGROUND)

    eye, directions = (x.double() for x in cameras.rays(12))
    to_center = (center.double() - eye)[:, None, None]
    along = (directions * to_center).sum(-1)
    impact = (to_center - along[..., None] * directions).norm(dim=-1)
    half = (radius**2 - impact.square()).clamp(min=0).sqrt()
    opacity = 1 - torch.exp(-2 * density * half)
    assert 0.1 < (half > 0).double().mean() < 0.9
    bound = density * 4 / samples
    torch.testing.assert_close(picture.opacity[:, 0].double(), opacity, atol=bound, rtol=0)
    color = opacity[:, None] * COLOR[:, None, None] + (1 - opacity[:, None]) * BACKGROUND[:, None, None]
    torch.testing.assert_close(picture.color.double(), color, atol=bound, rtol=0)

    thick = half > 0.1  # elsewhere a mean over a few samples
    mean = along - half + 1 / density - 2 * half * (1 - opacity) / opacity.clamp(min=1e-9)
    forward = torch.nn.functional.normalize(torch.tensor(TARGET) - eye, dim=-1)
    depth = mean * (directions * forward[:, None, None]).sum(-1)
    torch.testing.assert_close(picture.depth[:, 0].double()[thick], depth[thick], atol=3e-3, rtol=0)


def test_weights_are_transmittance_times_opacity() -> None:
    """T_i (1 - exp(-d_i)), T_i the product of the earlier exp(-d_j), ray by ray in Python floats."""
    field = VoxelField(6)
    with torch.no_grad():
        field.grid.add_(torch.randn(field.grid.shape, generator=torch.Generator().manual_seed(0)))
        samples = render(
            field, CameraDistribution().sample(1, torch.Generator().manual_seed(1)), 6, 16, BACKGROUND
        ).samples
    transmittance: dict[int, float] = {}
    expected = []
    depths = (samples.density.double() * samples.delta.double()).tolist()
    for ray, depth in zip(samples.ray.tolist(), depths, strict=True):
        before = transmittance.get(ray, 1.0)
        expected.append(before * (1 - math.exp(-depth)))
        transmittance[ray] = before * math.exp(-depth)
    assert max(expected) > 0.2
    torch.testing.assert_close(samples.weight.double(), torch.tensor(expected).double(), atol=1e-6, rtol=1e-5)


def test_renders_match_nerfacc() -> None:
    """From rays to color, opacity, depth and the grid's gradient, with every sample evaluated."""
    generator = torch.Generator().manual_seed(1)
    field = VoxelField(12)
    with torch.no_grad():
        field.grid.add_(torch.randn(field.grid.shape, generator=generator))
    cameras, size, samples = CameraDistribution(jitter=0.1, distance=(5, 9)).sample(3, generator), 10, 20
    picture = render(field, cameras, size, samples, BACKGROUND, early_stop=0)

    eye, directions = cameras.rays(size)
    origins = eye[:, None, None].expand_as(directions).reshape(-1, 3)
    directions = directions.reshape(-1, 3)
    low, high = field.bounds
    sides = torch.stack([(low - origins) / directions, (high - origins) / directions])
    near, far = sides.amin(0).amax(-1), sides.amax(0).amin(-1).clamp(min=0)
    far = torch.maximum(near, far)
    edges = near[:, None] + (far - near)[:, None] * torch.linspace(0, 1, samples + 1)
    starts, ends = edges[:, :-1], edges[:, 1:]
    points = origins[:, None] + directions[:, None] * ((starts + ends) / 2)[..., None]
    density, color = field(points.reshape(-1, 3))
    weights, _, _ = render_weight_from_density(starts, ends, density.reshape(-1, samples))
    seen = accumulate_along_rays(weights, color.reshape(-1, samples, 3))
    opacity = accumulate_along_rays(weights)
    distance = accumulate_along_rays(weights, ((starts + ends) / 2)[..., None])

    def image(values: Tensor) -> Tensor:
        return values.reshape(3, size, size, -1).permute(0, 3, 1, 2)

    over = image(seen + (1 - opacity) * BACKGROUND)
    torch.testing.assert_close(picture.color, over, atol=1e-5, rtol=0)
    torch.testing.assert_close(picture.opacity, image(opacity), atol=1e-5, rtol=0)
    target = torch.as_tensor(cameras.target)
    forward = torch.nn.functional.normalize(target - eye, dim=-1).repeat_interleave(size * size, 0)
    depth = image(distance * (directions * forward).sum(-1, keepdim=True)) / image(opacity).clamp(min=1e-4)
    solid = picture.opacity > 0.01  # elsewhere both divide rounding errors
    torch.testing.assert_close(picture.depth[solid], depth[solid], atol=1e-3, rtol=0)
    by = torch.randn(over.shape, generator=generator)
    (ours,) = torch.autograd.grad((picture.color * by).sum(), field.grid)
    (theirs,) = torch.autograd.grad((over * by).sum(), field.grid)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


class Solid(RadianceField):
    """The ellipsoids and boxes of a toybox scene as a field, opaque inside."""

    def __init__(self, solids: Solids) -> None:
        super().__init__()
        self.solids = solids

    def forward(self, points: Tensor) -> DensityAndColor:
        inside = torch.zeros(len(points), dtype=torch.bool)
        for part, order in ((self.solids.ellipsoids, 2), (self.solids.boxes, math.inf)):
            for matrix, center in zip(part.matrix, part.center, strict=True):
                inside |= torch.linalg.vector_norm((points - center) @ matrix.T, order, dim=-1) < 1
        return DensityAndColor(2000.0 * inside, torch.zeros_like(points))


def test_silhouettes_and_depths_match_the_toybox() -> None:
    s = SceneBuilder(1)
    world = Frame.world(1)
    s.ball(world, (0.2, 0.9, 0.3), (0.5, 0.3, 0.4), (1, 0, 0), rotation("z", 30))
    s.ball(world, (-0.3, 1.5, -0.2), 0.25, (0, 1, 0))
    s.box(world, (-0.4, 0.7, 0.1), (0.2, 0.4, 0.3), (0, 0, 1), rotation("y", 40))
    solids = s.solids()
    for azimuth, elevation in ((10.0, 0.0), (75.0, 20.0), (200.0, 50.0)):
        az, el = torch.tensor([azimuth]), torch.tensor([elevation])
        truth = caster.render(solids, toybox.Camera(az, el), 48, supersampling=1)
        picture = render(Solid(solids), Cameras(az, el), 48, 256, BACKGROUND)
        hit = truth.alpha[0, 0] > 0
        seen = picture.opacity[0, 0] > 0.5
        assert (hit & seen).sum() / (hit | seen).sum() > 0.985
        both = hit & seen
        late = (picture.depth - truth.depth)[0, 0][both]
        # The first sample inside comes up to one interval behind the surface.
        assert late.median().item() == pytest.approx(0.5 * 2.8 / 256, abs=0.004)
        assert ((late > -1e-3) & (late < 3.5 / 256)).float().mean() > 0.98
