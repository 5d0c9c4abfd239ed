"""Radiance fields: density and color at points of space, learned in a voxel grid or a hash grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dream3d.nerf.cameras import TARGET

Corner = tuple[float, float, float]

HALF_SIDE = 1.25  # of the default box: the canonical camera sees 1.234 to each side of its target
LOW: Corner = (TARGET[0] - HALF_SIDE, TARGET[1] - HALF_SIDE, TARGET[2] - HALF_SIDE)
HIGH: Corner = (TARGET[0] + HALF_SIDE, TARGET[1] + HALF_SIDE, TARGET[2] + HALF_SIDE)

SOFTPLUS_SCALE = 25.0  # raw density 1 is then opacity 0.73 across a cell of a 64^3 grid of the default box
BLURS = 2  # of three cells each, where a broad slope is wanted
EXP_LIMIT = 8.0  # density 2981: opaque within 2 mm of a figure of 2 m; beyond, gradients are zero anyway

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    # Direct Voxel Grid Optimization (Sun et al. 2022), section 4, interpolates before softplus ("post-
    # activation"), which lets a linear interpolation hold a sharp surface; both fields here do.
    "softplus": lambda raw: SOFTPLUS_SCALE * F.softplus(raw),
    # Instant NGP and DreamFusion.
    "exp": lambda raw: raw.clamp(max=EXP_LIMIT).exp(),
}


class DensityAndColor(NamedTuple):
    """A field at M points."""

    density: Tensor  # (M,) >= 0, per world unit
    color: Tensor  # (M,3) in [0,1]


class RadianceField(nn.Module):
    """Density and color in a box. `forward` is all that a new field must define.

    low, high: corners of the box, which are buffers; outside of it a field may answer anything.
    """

    low: Tensor
    high: Tensor

    def __init__(self, low: Corner = LOW, high: Corner = HIGH) -> None:
        super().__init__()
        if any(a >= b for a, b in zip(low, high, strict=True)):
            raise ValueError(f"the box from {low} to {high} is empty")
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("high", torch.tensor(high))

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The box: its lower and upper corner, (3,) world."""
        return self.low, self.high

    def forward(self, points: Tensor) -> DensityAndColor:
        """points: (M,3) world. Differentiable in the field's parameters."""
        raise NotImplementedError

    def density(self, points: Tensor) -> Tensor:
        """Only the density (M,) of `forward`."""
        return self(points).density

    def density_gradient(self, points: Tensor) -> Tensor:
        """Vectors (M,3) along the gradient of the density at `points` (M,3), of any length.

        Central differences of the density over 1/128 of the box's longest side. Differentiable in the
        field's parameters with first derivatives alone, which the shading of normals needs.
        """
        step = (self.high - self.low).max() / 256
        offset = step * torch.eye(3, device=points.device, dtype=points.dtype)
        around = points[:, None] + torch.cat([offset, -offset])
        ahead, behind = self.density(around.reshape(-1, 3)).reshape(-1, 2, 3).unbind(1)
        return (ahead - behind) / (2 * step)

    def smoothed_density_gradient(self, points: Tensor) -> Tensor:
        """`ascent` without the field's finest detail, for light to fall on; the same unless defined."""
        return self.density_gradient(points)


def normals(field: RadianceField, points: Tensor, smoothed: bool = False) -> Tensor:
    """Unit normals (M,3) in world axes, against the gradient of the density; zero where that is flat.

    broad: against `Field.smoothed_density_gradient` instead.
    """
    return -F.normalize(
        field.smoothed_density_gradient(points) if smoothed else field.density_gradient(points), dim=-1
    )


@dataclass(frozen=True)
class Blob:
    """Raw density height (1 - |x - center| / radius) that a field starts from; the center is the box's.

    Poole et al. 2022, "DreamFusion", appendix A (there height 5, radius 0.5 under an exponential). The
    default is meant for "softplus": opaque in the middle, fog around it, and small and soft enough to be
    carved away where the object is slender: of a larger one a collar stays round the waists of skeletons.

    floor: what the raw density is at least: clear, yet dense enough that occupancy does not rule out what
        lies far from the center, such as ears, before anything has been learned.
    """

    height: float = 3.0
    radius: float = 0.35  # world units
    floor: float = -7.0

    def __call__(self, points: Tensor, center: Tensor) -> Tensor:
        """points: (...,3). Returns (...)."""
        return (self.height * (1 - (points - center).norm(dim=-1) / self.radius)).clamp(min=self.floor)


BLOB = Blob()


def _checked(activation: str) -> str:
    if activation not in ACTIVATIONS:
        raise ValueError(f"no activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
    return activation


class VoxelField(RadianceField):
    """Raw density and color at the vertices of a grid, interpolated linearly, then activated.

    `grid` (1,4,Z,Y,X), all three alike, spans the box from corner to corner: raw density, then color before
    the sigmoid. Outside of the box it answers as at the nearest point inside. Starts gray, with a blob.

    activation: "softplus", 25 softplus(raw) per world unit, or "exp", exp(raw) up to raw 8.
    """

    def __init__(
        self,
        resolution: int = 40,
        *,
        blob: Blob | None = BLOB,
        activation: str = "softplus",
        low: Corner = LOW,
        high: Corner = HIGH,
    ) -> None:
        super().__init__(low, high)
        if resolution < 2:
            raise ValueError(f"a grid needs two vertices along each side, not {resolution}")
        self.activation = _checked(activation)
        grid = torch.zeros(1, 4, resolution, resolution, resolution)
        if blob is not None:
            grid[0, 0] = blob(self._vertices(resolution), (self.low + self.high) / 2)
        self.grid = nn.Parameter(grid)

    @property
    def resolution(self) -> int:
        """Vertices along a side."""
        return self.grid.shape[-1]

    def _vertices(self, resolution: int) -> Tensor:
        """(Z,Y,X,3) world"""
        x, y, z = (
            torch.linspace(float(a), float(b), resolution, device=self.low.device)
            for a, b in zip(self.low, self.high, strict=True)
        )
        return torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], -1)

    def _interpolate(self, grid: Tensor, points: Tensor) -> Tensor:
        """grid: (1,C,Z,Y,X). Returns (C,M)."""
        if len(points) == 0:  # which grid_sample refuses
            return grid.flatten(2)[0, :, :0]
        at = (points - self.low) * (2 / (self.high - self.low)) - 1
        # On a CPU the backward pass takes two thirds of the time where a vertex's channels lie together.
        grid = grid.contiguous(memory_format=torch.channels_last_3d)
        return F.grid_sample(grid, at[None, None, None], padding_mode="border", align_corners=True)[
            0, :, 0, 0
        ]

    def forward(self, points: Tensor) -> DensityAndColor:
        raw = self._interpolate(self.grid, points)
        return DensityAndColor(ACTIVATIONS[self.activation](raw[0]), raw[1:].sigmoid().T)

    def density(self, points: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](self._interpolate(self.grid[:, :1], points)[0])

    def density_gradient(self, points: Tensor) -> Tensor:
        """Central differences of the raw density at the vertices, interpolated like everything else.

        Activations are monotonous, so raw density rises in the density's direction; and one interpolation of
        three channels costs half of six evaluations.
        """
        return self._slope(self.grid[0, 0], points)

    def smoothed_density_gradient(self, points: Tensor) -> Tensor:
        """The slope of how opaque cells are, blurred.

        The raw density tells inside from outside, but once it has saturated its slope is noise on both sides.
        """
        cell = (self.high - self.low).mean() / (self.resolution - 1)
        opaque = 1 - (-ACTIVATIONS[self.activation](self.grid[:, :1]) * cell).exp()
        for _ in range(BLURS):
            opaque = F.avg_pool3d(opaque, 3, stride=1, padding=1, count_include_pad=False)
        return self._slope(opaque[0, 0], points)

    def _slope(self, values: Tensor, points: Tensor) -> Tensor:
        """values: (Z,Y,X) at the vertices. Returns (M,3)."""
        spacing = ((self.high - self.low) / (self.resolution - 1)).tolist()
        z, y, x = torch.gradient(values, spacing=spacing[::-1])
        return self._interpolate(torch.stack([x, y, z])[None], points).T

    @torch.no_grad()
    def refined(self, resolution: int) -> VoxelField:
        """A copy of another resolution, by linear interpolation, equal to this one at common vertices."""
        copy = VoxelField(resolution, blob=None, activation=self.activation).to(self.grid)
        copy.low.copy_(self.low)
        copy.high.copy_(self.high)
        size = (resolution,) * 3
        copy.grid.copy_(F.interpolate(self.grid, size=size, mode="trilinear", align_corners=True))
        return copy


class HashField(RadianceField):
    """Features from grids of rising resolution, kept in hash tables, read by a tiny MLP.

    Mueller et al. 2022, "Instant Neural Graphics Primitives", section 3: `levels` grids of `coarsest` to
    `finest` cells a side in geometric progression, each with a table of at most 2**`log2_table` rows of
    `features`, indexed directly while its vertices fit and by the spatial hash of equation 4 where not.
    `activation` and `blob` as in `VoxelField`; the blob is added to the MLP's raw density and stays there.
    """

    PRIMES = (1, 2654435761, 805459861)

    def __init__(
        self,
        *,
        levels: int = 8,
        features: int = 2,
        log2_table: int = 15,
        coarsest: int = 8,
        finest: int = 128,
        hidden: int = 32,
        blob: Blob | None = BLOB,
        activation: str = "softplus",
        low: Corner = LOW,
        high: Corner = HIGH,
    ) -> None:
        super().__init__(low, high)
        if levels < 2 or not 1 <= coarsest < finest:
            raise ValueError(f"no progression of {levels} grids from {coarsest} to {finest} cells")
        self.blob = blob
        self.activation = _checked(activation)
        growth = (finest / coarsest) ** (1 / (levels - 1))
        self.cells = [round(coarsest * growth**level) for level in range(levels)]
        self.rows = 2**log2_table
        self.table = nn.Parameter(torch.empty(levels, self.rows, features).uniform_(-1e-4, 1e-4))
        out = nn.Linear(hidden, 4)
        nn.init.zeros_(out.bias)
        self.mlp = nn.Sequential(
            nn.Linear(levels * features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), out
        )

    def encode(self, points: Tensor) -> Tensor:
        """points: (M,3) world, clamped to the box. Returns features (M, levels * features)."""
        unit = ((points - self.low) / (self.high - self.low)).clamp(0, 1).T
        levels = zip(self.cells, self.table, strict=True)
        return torch.cat([self._level(unit, cells, table) for cells, table in levels], -1)

    def _level(self, unit: Tensor, cells: int, table: Tensor) -> Tensor:
        """unit: (3,M) in [0,1]; table: (rows, features). Returns (M, features)."""
        scaled = unit * cells
        cell = scaled.detach().floor().clamp(max=cells - 1)
        along = scaled - cell
        # Corners of a cell are numbered z, y, x by the first three axes, each 0 or 1; points come last.
        wx, wy, wz = torch.stack([1 - along, along], 1)
        weight = wz[:, None, None] * wy[None, :, None] * wx[None, None]
        vertex = torch.stack([cell, cell + 1], 1).long()
        side = cells + 1
        direct = side**3 <= self.rows
        factors = (1, side, side**2) if direct else self.PRIMES
        x, y, z = (at * factor for at, factor in zip(vertex, factors, strict=True))
        x, y, z = x[None, None], y[None, :, None], z[:, None, None]
        row = x + y + z if direct else (x ^ y ^ z) % self.rows
        return (weight[..., None] * F.embedding(row, table)).sum((0, 1, 2))

    def forward(self, points: Tensor) -> DensityAndColor:
        raw = self.mlp(self.encode(points))
        density = raw[:, 0]
        if self.blob is not None:
            density = density + self.blob(points, (self.low + self.high) / 2)
        return DensityAndColor(ACTIVATIONS[self.activation](density), raw[:, 1:].sigmoid())


class Background(nn.Module):
    """One color (3,) in [0,1] behind everything, learned from gray on."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(3))

    def forward(self) -> Tensor:
        return self.raw.sigmoid()
