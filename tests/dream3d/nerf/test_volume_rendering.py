"""Volume rendering: orientation, samples, skipping, gradients, shading; closed forms are in tests/oracles."""

import math

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from dream3d.nerf.cameras import (
    DISTANCE,
    FIELD_OF_VIEW,
    TARGET,
    CameraDistribution,
    Cameras,
    PixelStride,
)
from dream3d.nerf.occupancy_grid import OccupancyGrid
from dream3d.nerf.radiance_fields import Blob, DensityAndColor, HashField, RadianceField, VoxelField
from dream3d.nerf.volume_rendering import PointLightShader, render

WHITE = torch.ones(3)
RED, GREEN, BLUE, YELLOW = (torch.tensor(c) for c in ([1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1.0, 1, 0]))


class PaintedBox(RadianceField):
    """A cube of half side 0.5 about the target: red in front (+z), green on +x, blue behind, yellow on -x."""

    def forward(self, points: Tensor) -> DensityAndColor:
        local = points - torch.tensor(TARGET)
        x, z = local[:, 0], local[:, 2]
        density = 300.0 * (local.abs() < 0.5).all(-1)
        color = torch.where(
            (z.abs() > x.abs())[:, None],
            torch.where((z > 0)[:, None], RED, BLUE),
            torch.where((x > 0)[:, None], GREEN, YELLOW),
        )
        return DensityAndColor(density, color)


class Ball(RadianceField):
    """A hard gray ball of radius 0.6 about `center`."""

    def __init__(self, center: tuple[float, float, float] = TARGET) -> None:
        super().__init__()
        self.center = center

    def forward(self, points: Tensor) -> DensityAndColor:
        inside = 0.6 - (points - torch.tensor(self.center)).norm(dim=-1)
        return DensityAndColor(200 * (inside * 100).sigmoid(), torch.full_like(points, 0.5))


def camera(*azimuths: float, elevation: float = 0.0) -> Cameras:
    return Cameras(torch.tensor(azimuths), torch.full((len(azimuths),), elevation))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scrambled(resolution: int = 10) -> VoxelField:
    """A blob with structure in density and color."""
    field = VoxelField(resolution)
    with torch.no_grad():
        field.grid.add_(torch.randn(field.grid.shape, generator=seeded(7)))
    return field


def test_each_azimuth_shows_its_side() -> None:
    renders = render(PaintedBox(), camera(0, 90, 180, 270), 33, 64, WHITE)
    middle = renders.color[:, :, 16, 16]
    torch.testing.assert_close(middle, torch.stack([RED, GREEN, BLUE, YELLOW]), atol=1e-3, rtol=0)
    # At an edge, the side that is next counter-clockwise is on the right.
    corner = render(PaintedBox(), camera(45), 33, 64, WHITE).color[0, :, 16]
    torch.testing.assert_close(corner[:, 11], RED, atol=1e-3, rtol=0)
    torch.testing.assert_close(corner[:, 21], GREEN, atol=1e-3, rtol=0)
    # One interval is 2.5 / 64 long; the front face is half a unit before the target.
    assert renders.depth[0, 0, 16, 16].item() == pytest.approx(DISTANCE - 0.5, abs=2.5 / 64)
    assert renders.opacity[:, :, 16, 16].min() > 0.999 and renders.opacity[:, :, 0].max() == 0
    torch.testing.assert_close(renders.color[:, :, 0], torch.ones(4, 3, 33))


def test_up_is_row_0_and_plus_x_is_right() -> None:
    edge = DISTANCE * math.tan(math.radians(FIELD_OF_VIEW / 2))
    field = Ball((TARGET[0] + 0.3, TARGET[1] + 0.5, TARGET[2]))
    opacity = render(field, camera(0), 32, 48, WHITE).opacity[0, 0]
    at = (torch.arange(32) + 0.5) / 16 - 1
    assert ((opacity * at).sum() / opacity.sum()).item() == pytest.approx(0.3 / edge, abs=0.02)
    assert ((opacity * -at[:, None]).sum() / opacity.sum()).item() == pytest.approx(0.5 / edge, abs=0.02)


def test_a_batch_equals_single_renders() -> None:
    field, cameras = scrambled(), CameraDistribution(jitter=0.1).sample(3, seeded())
    backgrounds = torch.rand(3, 3, generator=seeded(1))
    many = render(field, cameras, 16, 24, backgrounds, with_normals=True)
    for i in range(3):
        one = render(field, cameras[i : i + 1], 16, 24, backgrounds[i], with_normals=True)
        for name in ("color", "opacity", "depth", "normals"):
            torch.testing.assert_close(getattr(many, name)[i], getattr(one, name)[0], atol=2e-5, rtol=1e-5)


def test_a_pixel_stride_renders_a_subset_of_the_pixels() -> None:
    field, cameras, stride = scrambled(), camera(20, 200), PixelStride(3, row=2, column=1)
    behind = torch.rand(2, 3, 12, 12, generator=seeded(1))
    full = render(field, cameras, 12, 16, behind)
    some = render(field, cameras, 4, 16, stride.select(behind), pixels=stride)
    torch.testing.assert_close(some.color, full.color[:, :, 2::3, 1::3])
    torch.testing.assert_close(some.depth, full.depth[:, :, 2::3, 1::3])


def test_the_background_is_composited_by_transparency() -> None:
    field, cameras = scrambled(), camera(20, 200)
    behind = torch.rand(2, 3, 16, 16, generator=seeded(1))
    over, black = (render(field, cameras, 16, 24, b) for b in (behind, torch.zeros(3)))
    torch.testing.assert_close(over.color, black.color + (1 - black.opacity) * behind)
    assert 0.1 < black.opacity.mean() < 0.9
    for name in ("color", "opacity"):
        values = getattr(over, name)
        assert values.min() >= -1e-6 and values.max() <= 1 + 1e-6
    with pytest.raises(ValueError, match="background of shape"):
        render(field, cameras, 16, 24, torch.rand(2, 3, 8, 8))


def test_stratified_samples_average_to_the_fine_render() -> None:
    field, cameras = scrambled(), camera(30)
    fine = render(field, cameras, 12, 1024, WHITE).color
    one, same = (render(field, cameras, 12, 24, WHITE, generator=seeded(3)).color for _ in range(2))
    assert torch.equal(one, same)
    many = [render(field, cameras, 12, 24, WHITE, generator=seeded(s)).color for s in range(40)]
    assert (one - fine).abs().mean() > 1.5 * (torch.stack(many).mean(0) - fine).abs().mean()
    torch.testing.assert_close(torch.stack(many).mean(0), fine, atol=0.03, rtol=0)


def test_samples_lie_in_their_intervals() -> None:
    """Also for a camera inside the box, where rays start at the eye."""
    inside = Cameras(torch.tensor([0.0]), torch.tensor([0.0]), distance=0.5)
    for cameras in (camera(70, elevation=20), inside):
        samples = render(scrambled(), cameras, 8, 16, WHITE, generator=seeded(), early_stop=0).samples
        low, high = VoxelField(2).bounds
        assert (samples.point >= low - 1e-4).all() and (samples.point <= high + 1e-4).all()
        assert (samples.t > 0).all() and len(samples.t) == 8 * 8 * 16
        within = (
            samples.t - samples.t.reshape(-1, 16)[:, :1].repeat_interleave(16, 1).flatten()
        ) / samples.delta
        index = torch.arange(16).repeat(64)
        assert ((within > index - 1) & (within < index + 1)).all()
        assert torch.equal(samples.ray, torch.arange(64).repeat_interleave(16))
    assert samples.t.min() < 0.2


def test_skipping_changes_renders_by_less_than_its_bound() -> None:
    """Hard-edged fields change by less than 1e-4 with the occupancy grid and with the early stop."""
    cameras = CameraDistribution().sample(2, seeded(5))
    for field in (Ball(), PaintedBox()):
        full = render(field, cameras, 24, 48, WHITE, early_stop=0)
        grid = OccupancyGrid(field, 32, threshold=1e-6)
        grid.update(field)
        skipped = render(field, cameras, 24, 48, WHITE, occupancy=grid, early_stop=0)
        stopped = render(field, cameras, 24, 48, WHITE, occupancy=grid)
        for name in ("color", "opacity"):
            for other in (skipped, stopped):
                assert (getattr(other, name) - getattr(full, name)).abs().max() < 1.01e-4
        assert len(skipped.samples.t) < 0.4 * len(full.samples.t)
        assert len(stopped.samples.t) < 0.7 * len(skipped.samples.t)


def test_light_samples_are_left_out_and_their_weights_bound_the_error() -> None:
    """The samples are those of at least the weight, and a pixel changes by at most the weights it lost."""
    field, cameras, least = scrambled(), CameraDistribution().sample(2, seeded(5)), 0.02
    full = render(field, cameras, 12, 48, WHITE, early_stop=0)
    heavy = full.samples.weight >= least
    kept = render(field, cameras, 12, 48, WHITE, early_stop=0, least_weight=least)
    assert torch.equal(kept.samples.point, full.samples.point[heavy]) and 0 < heavy.sum() < 0.5 * len(heavy)
    rays = torch.zeros(2 * 12 * 12)
    lost = rays.index_add(0, full.samples.ray[~heavy], full.samples.weight[~heavy]).reshape(2, 1, 12, 12)
    # What was behind the lost samples is seen by as much more.
    assert ((kept.color - full.color).abs() <= lost + 1e-5).all() and lost.max() > least


def test_the_error_of_a_threshold_is_bounded() -> None:
    field, cameras = VoxelField(32, blob=Blob(8.0, 0.5, floor=-20.0)), camera(0, 60)
    grid = OccupancyGrid(field, 32, threshold=0.01)
    grid.update(field)
    full, skipped = (render(field, cameras, 24, 48, WHITE, occupancy=g) for g in (None, grid))
    assert (skipped.opacity - full.opacity).abs().max() < 0.01 * 2.6
    assert len(skipped.samples.t) < 0.5 * len(full.samples.t)


def test_a_fully_skipped_field_shows_the_background() -> None:
    field = VoxelField(8)
    grid = OccupancyGrid(field, 8)
    grid.occupied.zero_()
    light = PointLightShader(torch.zeros(1, 3))
    renders = render(field, camera(0), 8, 16, torch.full((3,), 0.3), occupancy=grid, shader=light)
    assert (renders.color == 0.3).all() and (renders.opacity == 0).all() and (renders.depth == 0).all()
    renders.color.sum().backward()
    assert field.grid.grad is not None and (field.grid.grad == 0).all()


@pytest.mark.parametrize("lit", [False, True])
def test_gradients_agree_with_finite_differences(lit: bool) -> None:
    field = scrambled(4).double()
    light = PointLightShader(torch.tensor([[2.0, 4.0, 5.0]], dtype=torch.float64)) if lit else None

    def shaded(grid: Tensor, background: Tensor) -> tuple[Tensor, ...]:
        class Renderer(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.field = field

            def forward(self) -> tuple[Tensor, ...]:
                renders = render(
                    self.field, camera(30), 4, 8, background, shader=light, with_normals=True, early_stop=0
                )
                return renders.color, renders.opacity, renders.depth

        return functional_call(Renderer(), {"field.grid": grid}, ())

    grid = field.grid.detach().clone().requires_grad_()
    background = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(shaded, (grid, background), fast_mode=True)


def test_a_hash_field_renders_and_learns() -> None:
    torch.manual_seed(0)
    field = HashField(levels=4, log2_table=10, coarsest=4, finest=24, hidden=16)
    grid = OccupancyGrid(field, 16)
    grid.update(field)
    light = PointLightShader(torch.tensor([[0.0, 1.0, 7.0]]))
    renders = render(field, camera(0), 12, 24, WHITE, occupancy=grid, shader=light)
    assert renders.opacity[0, 0, 6, 6] > 0.99 and renders.opacity[0, 0, 0, 0] < 0.1
    renders.color.mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in field.parameters())


def test_point_lights_at_the_eye_and_behind_the_object() -> None:
    cameras = camera(0, 120, elevation=15)
    eye = cameras.rays(1)[0]
    for lights, expected in ((eye, 0.2 + 0.7), (2 * torch.tensor(TARGET) - eye, 0.2)):
        light = PointLightShader(lights, ambient=0.2, diffuse=0.7)
        lit = render(Ball(), cameras, 33, 96, WHITE, shader=light)
        torch.testing.assert_close(
            lit.color[:, :, 16, 16], torch.full((2, 3), 0.5 * expected), atol=0.01, rtol=0
        )
        bare = PointLightShader(lights, ambient=0.2, diffuse=0.7, textureless=True)
        shape = render(Ball(), cameras, 33, 96, WHITE, shader=bare)
        torch.testing.assert_close(shape.color[:, :, 16, 16], torch.full((2, 3), expected), atol=0.01, rtol=0)
    # Lambert's cosine on a ball that is lit from the eye; at this distance rays are almost parallel.
    lit = render(
        Ball(), camera(0), 65, 96, WHITE, shader=PointLightShader(camera(0).rays(1)[0], textureless=True)
    )
    row = lit.color[0, 0, 32]
    off = ((torch.arange(65) + 0.5) / 65 * 2 - 1) * DISTANCE * math.tan(math.radians(FIELD_OF_VIEW / 2))
    inner = off.abs() < 0.5
    cosine = (1 - (off / 0.6).square()).clamp(min=0).sqrt()
    torch.testing.assert_close(row[inner], (0.1 + 0.9 * cosine)[inner], atol=0.06, rtol=0)


def test_normals_face_the_camera_in_world_axes() -> None:
    cameras = camera(0, 90, 225, elevation=25)
    renders = render(Ball(), cameras, 33, 64, WHITE, with_normals=True)
    assert renders.normals is not None
    _, axes = cameras.axes()
    torch.testing.assert_close(renders.normals[:, :, 16, 16], axes[:, :, 2], atol=0.05, rtol=0)
    assert render(Ball(), cameras, 4, 4, WHITE).normals is None


def test_invalid_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="0 pixels"):
        render(Ball(), camera(0), 0, 8, WHITE)
    with pytest.raises(ValueError, match="0 samples"):
        render(Ball(), camera(0), 8, 0, WHITE)
    with pytest.raises(ValueError, match="2 cameras need 2 lights"):
        render(Ball(), camera(0, 90), 8, 8, WHITE, shader=PointLightShader(torch.zeros(1, 3)))
