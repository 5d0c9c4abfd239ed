"""Occupancy grid of a radiance field: the renderer skips its empty cells."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool3d

from dream3d.nerf.radiance_fields import RadianceField

CHUNK = 1 << 17  # points per evaluation of the field


class OccupancyGrid(nn.Module):
    """Cells of a field's box that may be occupied; all of them until the first `update`.

    As in Mueller et al. 2022, "Instant Neural Graphics Primitives", appendix E, but the density is evaluated
    at fixed points instead of random ones, so an update is a deterministic function of the field. All state
    is in buffers.

    resolution: cells along each side of the box.
    threshold: density per world unit at or below which a cell counts as empty. Skipping changes the optical
        depth of a ray by at most the threshold times its length, 0.03 across the default box.
    decay: factor of a cell's stored density in each update.

    Raises ValueError for a resolution below 1, a negative threshold and a decay outside [0, 1].
    """

    low: Tensor
    high: Tensor
    density: Tensor  # (Z,Y,X) decayed maximum
    occupied: Tensor  # (Z,Y,X) bool

    def __init__(
        self, field: RadianceField, resolution: int = 64, threshold: float = 0.01, decay: float = 0.8
    ) -> None:
        super().__init__()
        if resolution < 1 or threshold < 0 or not 0 <= decay <= 1:
            raise ValueError(f"invalid occupancy grid: resolution {resolution}, {threshold=}, {decay=}")
        self.threshold = threshold
        self.decay = decay
        cells = (resolution,) * 3
        low, high = field.bounds
        self.register_buffer("low", low.clone())
        self.register_buffer("high", high.clone())
        self.register_buffer("density", torch.zeros(cells, device=low.device))
        self.register_buffer("occupied", torch.ones(cells, dtype=torch.bool, device=low.device))

    @property
    def resolution(self) -> int:
        """Number of cells along a side."""
        return len(self.density)

    @torch.no_grad()
    def update(self, field: RadianceField) -> None:
        """Sets each cell to max(decay * stored density, current density at its corners and center).

        A cell is occupied if this exceeds the threshold in it or in one of its 26 neighbors. A field that is
        trained through the grid can therefore grow by one cell between updates.
        """
        corners = self._densities(field, self.resolution + 1, 0.0)
        current = torch.maximum(
            max_pool3d(corners[None], 2, stride=1)[0], self._densities(field, self.resolution, 0.5)
        )
        self.density = torch.maximum(self.decay * self.density, current)
        full = (self.density > self.threshold).float()
        self.occupied = max_pool3d(full[None], 3, stride=1, padding=1)[0] > 0

    def _densities(self, field: RadianceField, count: int, shift: float) -> Tensor:
        """Densities (count,count,count), in Z, Y, X, at points one cell apart, from `shift` cells on."""
        at = (torch.arange(count, device=self.low.device) + shift) / self.resolution
        z, y, x = torch.meshgrid(at, at, at, indexing="ij")
        points = self.low + torch.stack([x, y, z], -1).reshape(-1, 3) * (self.high - self.low)
        return torch.cat([field.density(part) for part in points.split(CHUNK)]).reshape(count, count, count)

    def contains(self, points: Tensor) -> Tensor:
        """Mask (...) of the points (...,3) in the box that lie in occupied cells."""
        side = self.resolution
        scale = side / (self.high - self.low)
        x, y, z = (points - self.low).mul_(scale).int().clamp_(0, side - 1).unbind(-1)
        cell = x + side * (y + side * z)
        return self.occupied.flatten().index_select(0, cell.flatten()).view_as(cell)
