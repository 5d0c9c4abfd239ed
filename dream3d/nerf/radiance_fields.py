"""Radiance fields: density and color as functions of position, stored in a voxel grid or a hash grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dream3d.nerf.cameras import TARGET

Corner = tuple[float, float, float]

HALF_SIDE = 1.25  # of the default box: the view of the canonical camera is 1.234 to each side of the target
LOW: Corner = (TARGET[0] - HALF_SIDE, TARGET[1] - HALF_SIDE, TARGET[2] - HALF_SIDE)
HIGH: Corner = (TARGET[0] + HALF_SIDE, TARGET[1] + HALF_SIDE, TARGET[2] + HALF_SIDE)

SOFTPLUS_SCALE = 25.0  # raw density 1 has opacity 0.73 across a cell of a 64^3 grid of the default box
BLURS = 2  # passes of the 3-cell box filter of smoothed gradients
POINTS_PER_THREAD = 8192  # at least; a thread's part of a gradient is a whole grid
FAINTEST = 1e-24  # lower bound of a gradient's squared length, by which normals are divided
EXP_LIMIT = 8.0  # density 2981: opaque within 2 mm for a figure of 2 m; denser points have no gradient

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    # Both fields interpolate before the activation ("post-activation"), so that linear interpolation can
    # represent a sharp surface: Sun et al. 2022, "Direct Voxel Grid Optimization", section 4.
    "softplus": lambda raw: SOFTPLUS_SCALE * F.softplus(raw),
    # As in Instant NGP and DreamFusion.
    "exp": lambda raw: raw.clamp(max=EXP_LIMIT).exp(),
}


class DensityAndColor(NamedTuple):
    """Values of a field at M points."""

    density: Tensor  # (M,) >= 0, per world unit
    color: Tensor  # (M,3) in [0,1]


class RadianceField(nn.Module):
    """Density and color in a box. Subclasses must define `forward`.

    low, high: corners of the box, stored as buffers. Values outside the box are undefined.

    Raises ValueError for an empty box.
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
        """Lower and upper corner of the box, (3,) world each."""
        return self.low, self.high

    def forward(self, points: Tensor) -> DensityAndColor:
        """Density and color at points (M,3) world; differentiable in the field's parameters."""
        raise NotImplementedError

    def density(self, points: Tensor) -> Tensor:
        """Density (M,) of `forward` alone."""
        return self(points).density

    def density_gradient(self, points: Tensor) -> Tensor:
        """Vectors (M,3) in the direction of the density's gradient at `points` (M,3); any length.

        Central differences over 1/128 of the box's longest side. Shaded normals can therefore be
        differentiated in the field's parameters without second derivatives.
        """
        step = (self.high - self.low).max() / 256
        offset = step * torch.eye(3, device=points.device, dtype=points.dtype)
        neighbors = points[:, None] + torch.cat([offset, -offset])
        ahead, behind = self.density(neighbors.reshape(-1, 3)).reshape(-1, 2, 3).unbind(1)
        return (ahead - behind) / (2 * step)

    def smoothed_density_gradient(self, points: Tensor) -> Tensor:
        """`density_gradient` without the finest detail, for shading; equal to it unless overridden."""
        return self.density_gradient(points)


def normals(field: RadianceField, points: Tensor, smoothed: bool = False) -> Tensor:
    """Unit normals (M,3) in world axes: the negative normalized density gradient; 0 where the gradient is 0.

    smoothed: use `RadianceField.smoothed_density_gradient`.
    """
    gradient = field.smoothed_density_gradient(points) if smoothed else field.density_gradient(points)
    # `normalize` takes thirty times as long on a CPU, as the coordinates of a vector are far apart in memory.
    return -gradient * gradient.square().sum(-1, keepdim=True).clamp(min=FAINTEST).rsqrt()


@dataclass(frozen=True)
class Blob:
    """Initial raw density of a field: height (1 - |x - center| / radius), centered in the box.

    Poole et al. 2022, "DreamFusion", appendix A (there height 5 and radius 0.5 with an exponential
    activation). The default is for "softplus": opaque in the middle with fog around it, and small and soft
    enough to be carved away where the object is slender. A larger blob leaves a collar around the waists of
    skeletons.

    floor: minimum of the raw density. It is transparent, but dense enough that the occupancy grid does not
        exclude parts far from the center, such as ears, in the first iterations.
    """

    height: float = 3.0
    radius: float = 0.35  # world units
    floor: float = -7.0

    def __call__(self, points: Tensor, center: Tensor) -> Tensor:
        """Raw density (...) at points (...,3)."""
        return (self.height * (1 - (points - center).norm(dim=-1) / self.radius)).clamp(min=self.floor)


BLOB = Blob()


def _checked(activation: str) -> str:
    """The name of an activation. Raises ValueError for an unknown one."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; the choices are {', '.join(ACTIVATIONS)}")
    return activation


class VoxelField(RadianceField):
    """Voxel grid of raw density and color, interpolated trilinearly and then activated.

    `grid` (1,4,R,R,R) in the order Z, Y, X spans the box from corner to corner. Channel 0 is the raw density,
    channels 1 to 3 are the color before the sigmoid. Points outside the box take the values of the nearest
    point inside. The initial field is a gray blob.

    resolution: R, at least 2.
    blob: None for raw density 0 everywhere.
    activation: "softplus", 25 softplus(raw) per world unit, or "exp", exp(raw) with raw clamped to at most 8.

    Raises ValueError for an unknown activation and for a resolution below 2.
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
            raise ValueError(f"a grid needs at least two vertices along each side, not {resolution}")
        self.activation = _checked(activation)
        grid = torch.zeros(1, 4, resolution, resolution, resolution)
        if blob is not None:
            grid[0, 0] = blob(self._vertices(resolution), (self.low + self.high) / 2)
        self.grid = nn.Parameter(grid)

    @property
    def resolution(self) -> int:
        """Number of vertices along a side."""
        return self.grid.shape[-1]

    def _vertices(self, resolution: int) -> Tensor:
        """World positions (R,R,R,3) of the vertices, in the order Z, Y, X."""
        x, y, z = (
            torch.linspace(float(a), float(b), resolution, device=self.low.device)
            for a, b in zip(self.low, self.high, strict=True)
        )
        return torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], -1)

    def _interpolate(self, grid: Tensor, points: Tensor) -> Tensor:
        """Trilinear interpolation (C,M) of grid (1,C,Z,Y,X) at points (M,3)."""
        if len(points) == 0:  # grid_sample raises an error
            return grid.flatten(2)[0, :, :0]
        scale = 2 / (self.high - self.low)
        at = torch.addcmul(-1 - self.low * scale, points, scale).T
        parts = 1
        if at.device.type == "cpu":  # there `grid_sample` is parallel over a batch, but not over points
            parts = min(torch.get_num_threads(), 1 + len(points) // POINTS_PER_THREAD)
        if spare := -len(points) % parts:
            at = F.pad(at, (0, spare))
        at = at.reshape(3, parts, 1, 1, -1).movedim(0, -1)
        # On a CPU the backward pass takes a third less time in channels-last order.
        batch = grid.contiguous(memory_format=torch.channels_last_3d).expand(parts, -1, -1, -1, -1)
        values = F.grid_sample(batch, at, padding_mode="border", align_corners=True)[:, :, 0, 0]
        return values.movedim(0, 1).reshape(grid.shape[1], -1)[:, : len(points)]

    def forward(self, points: Tensor) -> DensityAndColor:
        """As `RadianceField.forward`."""
        raw = self._interpolate(self.grid, points)
        return DensityAndColor(ACTIVATIONS[self.activation](raw[0]), raw[1:].sigmoid().T)

    def density(self, points: Tensor) -> Tensor:
        """As `RadianceField.density`, without interpolating the color."""
        return ACTIVATIONS[self.activation](self._interpolate(self.grid[:, :1], points)[0])

    def density_gradient(self, points: Tensor) -> Tensor:
        """Central differences of the raw density at the vertices, interpolated trilinearly.

        Activations are monotonic, so the gradients of raw and activated density have the same direction. One
        interpolation of three channels costs half as much as six evaluations.
        """
        return self._gradient(self.grid[0, 0], points)

    def smoothed_density_gradient(self, points: Tensor) -> Tensor:
        """Gradient of the blurred opacity of cells.

        Where the raw density saturates, inside and outside the surface, its gradient is noise.
        """
        cell = (self.high - self.low).mean() / (self.resolution - 1)
        opacity = 1 - (-ACTIVATIONS[self.activation](self.grid[0, 0]) * cell).exp()
        return self._gradient(box_blurred(opacity, BLURS), points)

    def _gradient(self, values: Tensor, points: Tensor) -> Tensor:
        """Gradient (M,3) of values (Z,Y,X) at the vertices, interpolated at points (M,3)."""
        spacing = ((self.high - self.low) / (self.resolution - 1)).tolist()
        z, y, x = torch.gradient(values, spacing=spacing[::-1])
        return self._interpolate(torch.stack([x, y, z])[None], points).T

    @torch.no_grad()
    def refined(self, resolution: int) -> VoxelField:
        """A copy at another resolution by trilinear interpolation; common vertices keep their values."""
        copy = VoxelField(resolution, blob=None, activation=self.activation).to(self.grid)
        copy.low.copy_(self.low)
        copy.high.copy_(self.high)
        size = (resolution,) * 3
        copy.grid.copy_(F.interpolate(self.grid, size=size, mode="trilinear", align_corners=True))
        return copy


def box_blurred(values: Tensor, passes: int) -> Tensor:
    """Passes of the mean over 3 x 3 x 3 cells of a cube (R,R,R); at its border, over the cells that exist.

    As products with a band matrix, which takes a sixth of the time of `avg_pool3d` on a CPU.
    """
    index = torch.arange(len(values), device=values.device)
    band = ((index[:, None] - index).abs() <= 1).to(values)
    mean = torch.linalg.matrix_power(band / band.sum(1, keepdim=True), passes)
    along_two = mean @ values @ mean.T
    return (mean @ along_two.flatten(1)).view_as(values)


class HashField(RadianceField):
    """Multiresolution hash grid of features with a small MLP.

    Mueller et al. 2022, "Instant Neural Graphics Primitives", section 3: `levels` grids of `coarsest` to
    `finest` cells a side in geometric progression. Each has a table of at most 2**`log2_table` rows of
    `features`, which is indexed directly if the vertices fit and otherwise by the spatial hash of equation 4.
    `activation` and `blob` are as in `VoxelField`; the blob is a constant added to the MLP's raw density.

    Raises ValueError for an unknown activation and unless levels >= 2 and 1 <= coarsest < finest.
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
        """Features (M, levels * features) of points (M,3) world, which are clamped to the box."""
        unit = ((points - self.low) / (self.high - self.low)).clamp(0, 1).T
        levels = zip(self.cells, self.table, strict=True)
        return torch.cat([self._level(unit, cells, table) for cells, table in levels], -1)

    def _level(self, unit: Tensor, cells: int, table: Tensor) -> Tensor:
        """Features (M, features) of one level; unit: (3,M) in [0,1]; table: (rows, features)."""
        scaled = unit * cells
        cell = scaled.detach().floor().clamp(max=cells - 1)
        along = scaled - cell
        # The first three axes, of length 2, are the corners of the cell in z, y, x; the last is the points.
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
        """As `RadianceField.forward`."""
        raw = self.mlp(self.encode(points))
        density = raw[:, 0]
        if self.blob is not None:
            density = density + self.blob(points, (self.low + self.high) / 2)
        return DensityAndColor(ACTIVATIONS[self.activation](density), raw[:, 1:].sigmoid())


class Background(nn.Module):
    """A learned uniform background color, initially gray."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(3))

    def forward(self) -> Tensor:
        """The color (3,) in [0,1]."""
        return self.raw.sigmoid()
