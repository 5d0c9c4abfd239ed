"""The occupancy grid: conservative bounds, decay and growth."""

import pytest
import torch
from torch import Tensor

from dream3d.nerf.occupancy_grid import OccupancyGrid
from dream3d.nerf.radiance_fields import HIGH, LOW, DensityAndColor, HashField, RadianceField, VoxelField

CENTER = (torch.tensor(LOW) + torch.tensor(HIGH)) / 2


class Ball(RadianceField):
    """Density 10 inside a ball about the middle of the box, 0 outside."""

    def __init__(self, radius: float) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, points: Tensor) -> DensityAndColor:
        inside = ((points - CENTER).norm(dim=-1) < self.radius).float()
        return DensityAndColor(10 * inside, inside[:, None].expand(-1, 3))


def points(count: int) -> Tensor:
    return CENTER + torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) * 2.5 - 1.25


def test_everything_is_occupied_before_the_first_update() -> None:
    assert OccupancyGrid(Ball(0.1), 8).contains(points(100)).all()


def test_dense_points_are_occupied_and_most_empty_ones_are_not() -> None:
    field = VoxelField(8)
    with torch.no_grad():
        field.grid.normal_(std=3, generator=torch.Generator().manual_seed(1)).sub_(6)
    grid = OccupancyGrid(field, 32, threshold=0.5)
    grid.update(field)
    where = points(20000)
    dense = field.density(where) > 5  # regions just above the threshold may be smaller than a cell
    assert dense.float().mean() > 0.002 and grid.occupied.float().mean() < 0.5
    assert grid.contains(where)[dense].all()
    ball = OccupancyGrid(Ball(0.5), 32)
    ball.update(Ball(0.5))
    radius, cell = (where - CENTER).norm(dim=-1), 2.5 / 32
    assert ball.contains(where)[radius < 0.5 + 0.5 * cell].all()
    # A cell's diagonal for the cell that touches the ball, and another for its neighbor.
    assert not ball.contains(where)[radius > 0.5 + 2 * 3**0.5 * cell].any()


@pytest.mark.parametrize("field", [VoxelField(40), HashField()], ids=["voxel", "hash"])
def test_a_new_field_is_occupied_everywhere(field: RadianceField) -> None:
    """Otherwise parts far from the initial blob, such as ears, could not grow."""
    grid = OccupancyGrid(field, 40)
    grid.update(field)
    assert grid.occupied.all()


def test_points_are_looked_up_in_their_cells() -> None:
    grid = OccupancyGrid(Ball(1.0), 4)
    grid.occupied = torch.zeros(4, 4, 4, dtype=torch.bool)
    grid.occupied[3, 0, 2] = True  # z, y, x
    cell = torch.tensor([2.0, 0.0, 3.0])
    inside = torch.tensor(LOW) + (cell + torch.tensor([[0.01], [0.5], [0.99]])) * 2.5 / 4
    assert grid.contains(inside).all()
    assert grid.contains(points(40000).reshape(200, 200, 3)).float().mean().item() == pytest.approx(
        1 / 64, rel=0.1
    )
    assert grid.contains(torch.tensor([0.3, LOW[1], HIGH[2]]))  # on faces of the box


def test_densities_decay_and_occupancy_grows_by_a_cell() -> None:
    grid = OccupancyGrid(Ball(0.5), 16, threshold=0.1, decay=0.5)
    grid.update(Ball(0.5))
    center = CENTER[None]
    for _ in range(6):  # 10 / 2^6 > 0.1
        grid.update(Ball(0.0))
        assert grid.contains(center)
    grid.update(Ball(0.0))
    assert not grid.contains(center)
    grown = OccupancyGrid(Ball(0.5), 16)
    grown.update(Ball(0.5))
    full = (grown.density > 0).sum(), grown.occupied.sum()
    assert full[1] > 1.3 * full[0]


def test_the_state_dict_restores_the_grid() -> None:
    grid, other = (OccupancyGrid(Ball(0.5), 8) for _ in range(2))
    grid.update(Ball(0.5))
    other.load_state_dict(grid.state_dict())
    assert torch.equal(other.occupied, grid.occupied) and torch.equal(other.density, grid.density)
    assert other.resolution == 8


def test_an_invalid_resolution_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid occupancy grid: resolution 0"):
        OccupancyGrid(Ball(0.5), 0)
