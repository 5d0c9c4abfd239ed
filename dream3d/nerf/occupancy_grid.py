"""Where a field is not empty: the boolean grid that spares the renderer empty space."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool3d

from dream3d.nerf.radiance_fields import RadianceField

CHUNK = 1 << 17  # points that the field is asked for at once


class OccupancyGrid(nn.Module):
    """Cells of a field's box that may hold something; all of them until the first `update`.

    As in Mueller et al. 2022, "Instant Neural Graphics Primitives", appendix E, with points in fixed places
    instead of random ones, so that an update is a function of the field. All state is in buffers.

    resolution: cells along each side of the box.
    threshold: density per world unit below which a cell counts as empty. Skipped densities cost a ray at most
        threshold times its length of optical depth: 0.03 across the default box, were all of it just below.
    decay: how much of a cell's remembered density an update keeps where the field has lost it.
    """

    low: Tensor
    high: Tensor
    density: Tensor  # (Z,Y,X) remembered maximum
    occupied: Tensor  # (Z,Y,X) bool

    def __init__(
        self, field: RadianceField, resolution: int = 64, threshold: float = 0.01, decay: float = 0.8
    ) -> None:
        super().__init__()
        if resolution < 1 or threshold < 0 or not 0 <= decay <= 1:
            raise ValueError(f"no occupancy of resolution {resolution}, {threshold=}, {decay=}")
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
        return len(self.density)

    @torch.no_grad()
    def update(self, field: RadianceField) -> None:
        """Remembers max(decay * remembered, density now at the cell's corners and center) in every cell.

        Occupied is a cell where that exceeds the threshold, or that touches one (26 neighbors): a field
        that is trained through the grid can thus grow by a cell from one update to the next.
        """
        corners = self._lattice(field, self.resolution + 1, 0.0)
        now = torch.maximum(
            max_pool3d(corners[None], 2, stride=1)[0], self._lattice(field, self.resolution, 0.5)
        )
        self.density = torch.maximum(self.decay * self.density, now)
        full = (self.density > self.threshold).float()
        self.occupied = max_pool3d(full[None], 3, stride=1, padding=1)[0] > 0

    def _lattice(self, field: RadianceField, count: int, shift: float) -> Tensor:
        """Densities (Z,Y,X) at `count` points along each side, a cell apart, from `shift` cells on."""
        at = (torch.arange(count, device=self.low.device) + shift) / self.resolution
        z, y, x = torch.meshgrid(at, at, at, indexing="ij")
        points = self.low + torch.stack([x, y, z], -1).reshape(-1, 3) * (self.high - self.low)
        return torch.cat([field.density(part) for part in points.split(CHUNK)]).reshape(count, count, count)

    def contains(self, points: Tensor) -> Tensor:
        """Whether points (...,3) in the box lie in occupied cells: bool (...)."""
        side = self.resolution
        scale = side / (self.high - self.low)
        x, y, z = ((points - self.low) * scale).int().clamp(0, side - 1).unbind(-1)
        return self.occupied.flatten()[x + side * (y + side * z)]
