"""The occupancy grid: what it keeps, forgets and lets grow."""

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


def test_nothing_dense_is_lost_and_much_of_the_rest_is() -> None:
    field = VoxelField(8)
    with torch.no_grad():
        field.grid.normal_(std=3, generator=torch.Generator().manual_seed(1)).sub_(6)
    grid = OccupancyGrid(field, 32, threshold=0.5)
    grid.update(field)
    where = points(20000)
    dense = field.density(where) > 5  # where it only just exceeds the threshold may be less than a cell
    assert 0.002 < dense.float().mean() and grid.occupied.float().mean() < 0.5
    assert grid.contains(where)[dense].all()
    ball = OccupancyGrid(Ball(0.5), 32)
    ball.update(Ball(0.5))
    away, cell = (where - CENTER).norm(dim=-1), 2.5 / 32
    assert ball.contains(where)[away < 0.5 + 0.5 * cell].all()
    # A cell's diagonal for the cell that touches the ball, and another for its neighbor.
    assert not ball.contains(where)[away > 0.5 + 2 * 3**0.5 * cell].any()


@pytest.mark.parametrize("field", [VoxelField(40), HashField()], ids=["voxel", "hash"])
def test_a_field_that_has_learned_nothing_is_looked_at_everywhere(field: RadianceField) -> None:
    """Else what lies far from the first blob, such as ears, could not grow."""
    grid = OccupancyGrid(field, 40)
    grid.update(field)
    assert grid.occupied.all()


def test_points_belong_to_the_cells_around_them() -> None:
    grid = OccupancyGrid(Ball(1.0), 4)
    grid.occupied = torch.zeros(4, 4, 4, dtype=torch.bool)
    grid.occupied[3, 0, 2] = True  # z, y, x
    cell = torch.tensor([2.0, 0.0, 3.0])
    inside = torch.tensor(LOW) + (cell + torch.tensor([[0.01], [0.5], [0.99]])) * 2.5 / 4
    assert grid.contains(inside).all()
    assert grid.contains(points(40000).reshape(200, 200, 3)).float().mean().item() == pytest.approx(
        1 / 64, rel=0.1
    )
    assert grid.contains(torch.tensor([0.3, LOW[1], HIGH[2]]))  # the box's own faces


def test_it_forgets_slowly_and_grows_by_a_cell() -> None:
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


def test_its_state_is_kept_in_checkpoints() -> None:
    grid, other = (OccupancyGrid(Ball(0.5), 8) for _ in range(2))
    grid.update(Ball(0.5))
    other.load_state_dict(grid.state_dict())
    assert torch.equal(other.occupied, grid.occupied) and torch.equal(other.density, grid.density)
    assert other.resolution == 8


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="no occupancy of resolution 0"):
        OccupancyGrid(Ball(0.5), 0)
