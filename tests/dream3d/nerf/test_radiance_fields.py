"""Voxel and hash fields: interpolation, initialization, normals and gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from dream3d.nerf.radiance_fields import (
    HIGH,
    LOW,
    SOFTPLUS_SCALE,
    Blob,
    HashField,
    RadianceField,
    VoxelField,
    box_blurred,
    normals,
)

CENTER = (torch.tensor(LOW) + torch.tensor(HIGH)) / 2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(count: int, seed: int = 0, inside: float = 1.0) -> Tensor:
    """Uniform in the default box shrunk to a fraction `inside`."""
    return CENTER + (torch.rand(count, 3, generator=seeded(seed)) * 2.5 - 1.25) * inside


def scrambled(resolution: int, seed: int = 0, **options) -> VoxelField:
    field = VoxelField(resolution, **options)
    with torch.no_grad():
        field.grid.normal_(generator=seeded(seed))
    return field


def small_hash(**options) -> HashField:
    torch.manual_seed(0)
    return HashField(levels=4, log2_table=10, coarsest=4, finest=24, hidden=16, **options)


def test_a_linear_field_is_exact_everywhere() -> None:
    """Detects swapped axes, and vertices at cell centers instead of corners."""
    low, high = (-1.0, 0.0, 2.0), (1.0, 3.0, 2.5)
    field = VoxelField(7, low=low, high=high)
    slopes = torch.tensor([[0.5, -1.0, 2.0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    axes = [torch.linspace(a, b, 7) for a, b in zip(low, high, strict=True)]
    for channel, slope in enumerate(slopes):
        for ix in range(7):
            plane = slope[0] * axes[0][ix] + slope[1] * axes[1][None] + slope[2] * axes[2][:, None]
            field.grid.data[0, channel, :, :, ix] = plane
    where = torch.tensor(low) + torch.rand(200, 3, generator=seeded()) * (
        torch.tensor(high) - torch.tensor(low)
    )
    raw = where @ slopes.T
    density, color = field(where)
    torch.testing.assert_close(density, SOFTPLUS_SCALE * F.softplus(raw[:, 0]), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(color, raw[:, 1:].sigmoid(), atol=1e-5, rtol=0)
    assert torch.equal(field.density(where), density)
    expected = -F.normalize(slopes[:1], dim=-1).expand(200, 3)
    torch.testing.assert_close(normals(field, where), expected, atol=1e-4, rtol=0)


def test_smoothed_normals_of_a_noisy_ball_are_radial() -> None:
    field = VoxelField(48, blob=Blob(40.0, 0.6))
    with torch.no_grad():
        field.grid[:, :1] += 3 * torch.randn(field.grid[:, :1].shape, generator=seeded())
    radii = F.normalize(torch.randn(500, 3, generator=seeded(1)), dim=-1)
    shell = CENTER + 0.6 * radii
    smooth, sharp = ((normals(field, shell, smoothed=b) * radii).sum(-1) for b in (True, False))
    assert smooth.mean() > 0.97 and smooth.min() > 0.8
    assert 1 - sharp.mean() > 3 * (1 - smooth.mean())


def test_the_box_blur_is_the_average_of_the_neighbors_inside() -> None:
    values = torch.rand(9, 9, 9, generator=seeded())
    expected = values[None, None]
    for passes in (1, 2):
        expected = F.avg_pool3d(expected, 3, stride=1, padding=1, count_include_pad=False)
        torch.testing.assert_close(box_blurred(values, passes), expected[0, 0])


@pytest.mark.parametrize(("count", "threads"), [(1, 3), (20000, 1), (20001, 3), (20001, 64)])
def test_points_are_interpolated_alike_by_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, count: int, threads: int
) -> None:
    field = VoxelField(12, blob=None)
    with torch.no_grad():
        field.grid.normal_(generator=seeded())
    points = CENTER + 1.3 * (2 * torch.rand(count, 3, generator=seeded(1)) - 1)  # some outside of the box
    at = (points - field.low) / (field.high - field.low) * 2 - 1
    settings = {"padding_mode": "border", "align_corners": True}
    raw = F.grid_sample(field.grid, at[None, None, None], **settings)[0, :, 0, 0]
    weights = torch.randn(4, count, generator=seeded(2))

    def gradient(density: Tensor, color: Tensor) -> Tensor:
        (grid,) = torch.autograd.grad((torch.cat([density[None], color.T]) * weights).sum(), field.grid)
        return grid

    expected = gradient(SOFTPLUS_SCALE * F.softplus(raw[0]), raw[1:].sigmoid().T)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    density, color = field(points)
    torch.testing.assert_close(density, SOFTPLUS_SCALE * F.softplus(raw[0]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(color, raw[1:].sigmoid().T, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(gradient(density, color), expected, atol=2e-2, rtol=1e-3)


@pytest.mark.parametrize("make", [VoxelField, HashField])
@pytest.mark.parametrize("activation", ["softplus", "exp"])
def test_a_field_starts_as_a_gray_blob(make: type[VoxelField | HashField], activation: str) -> None:
    torch.manual_seed(0)
    field = make(activation=activation, blob=Blob(6.0, 0.5))
    along = CENTER + torch.linspace(0.0, 1.2, 13)[:, None] * torch.tensor([0.6, 0.0, 0.8])
    density, color = field(along)
    assert (density[:11].diff() < 0).all()
    assert density[0] > 100 and density[-1] < 0.05
    raw = (6 * (1 - torch.linspace(0, 1.2, 13) / 0.5)).clamp(min=-7)
    expected = SOFTPLUS_SCALE * F.softplus(raw) if activation == "softplus" else raw.exp()
    # The grid smooths the tip of the cone.
    torch.testing.assert_close(density[2:], expected[2:], atol=1e-3, rtol=0.06)
    assert (color - 0.5).abs().max() < 0.1
    low, high = field.bounds
    torch.testing.assert_close(torch.stack([low, high]), torch.tensor([LOW, HIGH]))


def test_without_a_blob_the_initial_density_is_uniform() -> None:
    density, _ = VoxelField(8, blob=None, activation="exp")(points(10))
    torch.testing.assert_close(density, torch.ones(10))


def test_a_refined_grid_agrees_with_the_coarse_one() -> None:
    """Everywhere if all coarse vertices are vertices of the fine grid; else at the corners and the center."""
    coarse = scrambled(9, activation="exp")
    fine = coarse.refined(17)
    assert fine.resolution == 17 and fine.activation == "exp" and torch.equal(fine.low, coarse.low)
    torch.testing.assert_close(fine.grid[..., ::2, ::2, ::2], coarse.grid)
    for a, b in zip(fine(points(300)), coarse(points(300)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    shared = torch.stack([torch.tensor(LOW), torch.tensor(HIGH), CENTER])
    torch.testing.assert_close(
        coarse.refined(13).density(shared), coarse.density(shared), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("make", [lambda: scrambled(3).double(), lambda: small_hash().double()])
def test_gradients_agree_with_finite_differences(make) -> None:
    field = make()
    where = points(5, seed=2, inside=0.9).double()
    names = [n for n, p in field.named_parameters() if p.numel() < 2000]
    values = tuple(field.get_parameter(n).detach().clone().requires_grad_() for n in names)
    assert names

    def evaluate(*parameters: Tensor) -> tuple[Tensor, Tensor]:
        given = dict(zip(names, parameters, strict=True))
        density, color = functional_call(field, given, (where,))
        return density, color

    assert torch.autograd.gradcheck(evaluate, values, fast_mode=True)


@pytest.mark.parametrize("make", [lambda: VoxelField(40), lambda: HashField()])
def test_normals_of_a_blob_point_away_from_its_center(make) -> None:
    torch.manual_seed(0)
    field = make()
    where = points(200, seed=3)
    outward = F.normalize(where - CENTER, dim=-1)
    cosine = (normals(field, where) * outward).sum(-1)
    radius = (where - CENTER).norm(dim=-1)
    assert cosine[(radius > 0.2) & (radius < 0.85)].min() > 0.99  # beyond, the blob is at its floor


@pytest.mark.parametrize("make", [lambda: scrambled(5), lambda: small_hash()])
def test_normals_are_differentiable(make) -> None:
    field = make()
    normals(field, points(20, inside=0.8))[:, 1].sum().backward()
    gradient = next(p for n, p in field.named_parameters() if n in ("grid", "table")).grad
    assert gradient is not None and gradient.abs().max() > 0


def test_zero_points_are_allowed() -> None:
    for field in (VoxelField(4), small_hash()):
        density, color = field(torch.zeros(0, 3))
        assert density.shape == (0,) and color.shape == (0, 3)
        assert normals(field, torch.zeros(0, 3)).shape == (0, 3)


def test_direct_levels_of_the_hash_grid_interpolate_like_grid_sample() -> None:
    field = HashField(levels=2, features=3, log2_table=12, coarsest=4, finest=9)
    assert field.cells == [4, 9]
    with torch.no_grad():
        field.table.normal_(generator=seeded())
    where = points(300)
    features = field.encode(where).reshape(300, 2, 3)
    at = ((where - CENTER) / 1.25)[None, None, None]
    for level, side in enumerate((5, 10)):
        grid = field.table[level, : side**3].reshape(1, side, side, side, 3).permute(0, 4, 1, 2, 3)
        expected = F.grid_sample(grid, at, align_corners=True)[0, :, 0, 0].T
        torch.testing.assert_close(features[:, level], expected, atol=1e-4, rtol=0)


def test_hashed_levels_look_up_the_rows_of_the_paper() -> None:
    """At a vertex the feature is its row, by equation 4 in 32-bit arithmetic as in the paper's code."""
    field = HashField(levels=2, features=1, log2_table=10, coarsest=4, finest=64)
    field.table.data = torch.arange(2 * 1024.0).reshape(2, 1024, 1)
    vertex = torch.randint(0, 64, (50, 3), generator=seeded())
    feature = field.encode(CENTER - 1.25 + vertex * (2.5 / 64))[:, 1]
    with np.errstate(over="ignore"):
        hashed = vertex.numpy().astype(np.uint32) * np.array([1, 2654435761, 805459861], np.uint32)
    rows = 1024 + np.bitwise_xor.reduce(hashed, axis=1) % 1024
    # Neighbors have weights of the size of rounding errors, and rows differ by up to 1024.
    np.testing.assert_allclose(feature.detach().numpy(), rows, atol=0.2)


def test_a_hash_grid_fits_a_known_function() -> None:
    field = small_hash(blob=None, activation="exp")
    optimizer = torch.optim.Adam(field.parameters(), lr=0.02)

    def truth(where: Tensor) -> Tensor:
        x, y, z = (where - CENTER).unbind(-1)
        return (
            torch.stack([(3 * x).sin() * (2 * y).sin(), (2 * y).cos(), x * z / 2, (4 * z).sin()], -1) * 0.4
            + 0.5
        )

    def errors(where: Tensor) -> Tensor:
        density, color = field(where)
        expected = truth(where)
        return torch.cat([density[:, None] - expected[:, :1], color - expected[:, 1:]], -1)

    before = errors(points(1000, seed=99)).square().mean().item()
    for step in range(150):
        optimizer.zero_grad()
        errors(points(512, seed=step)).square().mean().backward()
        optimizer.step()
    assert errors(points(1000, seed=99)).square().mean().item() < 4e-3 < before / 10


def test_invalid_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown activation 'relu'; the choices are softplus, exp"):
        VoxelField(8, activation="relu")
    with pytest.raises(ValueError, match="at least two vertices"):
        VoxelField(1)
    with pytest.raises(ValueError, match="is empty"):
        VoxelField(8, low=(0, 0, 0), high=(1, 0, 1))
    with pytest.raises(ValueError, match="no progression"):
        HashField(levels=1)
    with pytest.raises(NotImplementedError):
        RadianceField()(points(1))
