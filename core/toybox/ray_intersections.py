"""Exact first intersections of rays with solids in batched torch, culled by screen tiles.

An image is divided into tiles of 8x8 rays. A solid is tested only in the tiles that overlap the projection of
its bounding ball (for a round cone, the hull of two discs), a few percent of all pairs of ray and solid.
`BallIntersections`, `CubeIntersections` and `ConeIntersections` have the same interface for K pairs of solid
and tile: `slot` (K,) is the index of the tile over all images, `color` (K,3), `depth` (K,TILE**2) is infinite
where the ray misses, and `normal` returns the normals at the intersections.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from core.toybox.camera import Crop, focal_length, rays
from core.toybox.solids import AffineSolids, RoundCones

TILE = 8  # rays along a tile's side


class PixelGrid:
    """The rays of an image of `size` x `size` pixels in `count` tiles of TILE**2 rays, `tiles` per row.

    crop: only the tiles that overlap this part are cast; `rows` and `columns` are their slices of the image.
    """

    def __init__(self, size: int, device: torch.device | str, crop: Crop | None = None):
        crop = crop or Crop(0, 0, size)
        self._across = size // TILE
        first_row, first_column = crop.top // TILE, crop.left // TILE
        last_row, last_column = -(-crop.rows.stop // TILE), -(-crop.columns.stop // TILE)
        self._rows, self.tiles = last_row - first_row, last_column - first_column
        self._first = first_row, first_column
        self.count = self._rows * self.tiles
        self.rows = slice(first_row * TILE, last_row * TILE)
        self.columns = slice(first_column * TILE, last_column * TILE)
        self._rays = rays(size, device)[self.rows, self.columns]
        self._pitch = 2 / size / focal_length()
        offsets = (torch.arange(TILE, device=device) + 0.5 - TILE / 2) * self._pitch
        v, u = torch.meshgrid(-offsets, offsets, indexing="ij")
        u, v = u.flatten(), v.flatten()
        self._monomials = torch.stack([u * u, v * v, u * v, u, v, torch.ones_like(u)])  # (6, TILE**2)

    def directions(self) -> Tensor:
        """Ray directions (count, TILE**2, 3) in camera axes."""
        square = self._rays.reshape(self._rows, TILE, self.tiles, TILE, 3).transpose(1, 2)
        return square.reshape(self.count, TILE**2, 3)

    def image(self, values: Tensor) -> Tensor:
        """Values (N*count, TILE**2, C) of all rays, in the order of the tiles -> images (N,C,h,w)."""
        channels = values.shape[-1]
        square = values.reshape(-1, self._rows, self.tiles, TILE, TILE, channels).permute(0, 5, 1, 3, 2, 4)
        return square.reshape(-1, channels, self._rows * TILE, self.tiles * TILE)

    def covered(self, a: Tensor, b: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of tile and hull of two balls at `a` and `b` that may overlap: solids (K,) and tiles (K,).

        a, b: (S,3) in camera axes, in front of the camera; radius: (S,), that of the larger ball.
        """
        scale = focal_length() * self._across / 2
        depth = -torch.maximum(a[:, 2], b[:, 2]).clamp(max=-1e-3)
        # In perspective a ball's outline is an ellipse; 2% covers its excess over the disc in narrow views.
        reach = radius / (depth.square() - radius.square()).clamp(min=1e-6).sqrt() * scale * 1.02 + 0.5**0.5
        a, b = (p[:, :2] / -p[:, 2:] * scale for p in (a, b))
        centers = torch.arange(self._across, device=a.device) + 0.5 - self._across / 2
        down = centers[self._first[0] :][: self._rows]
        right = centers[self._first[1] :][: self.tiles]
        row, column = torch.meshgrid(-down, right, indexing="ij")
        x, y = column - a[:, 0, None, None], row - a[:, 1, None, None]
        dx, dy = (b - a)[:, :, None, None].unbind(1)
        along = ((x * dx + y * dy) / (dx * dx + dy * dy).clamp(min=1e-9)).clamp(0, 1)
        near = (x - along * dx) ** 2 + (y - along * dy) ** 2 <= reach[:, None, None] ** 2
        solid, row, column = torch.nonzero(near, as_tuple=True)
        return solid, row * self.tiles + column

    def evaluate(self, forms: Tensor, tile: Tensor) -> Tensor:
        """Quadratic forms d^T Q d at each ray d = (x, y, -1) of a tile: forms (K,R,3,3) -> (K,R,TILE**2).

        All terms of an intersection are such forms. They are expanded about the tile's center in float64 and
        evaluated on the tile in float32. This is fast (one matrix product) and avoids cancellation.
        """
        half = self._across / 2 - 0.5
        row, column = torch.div(tile, self.tiles, rounding_mode="floor"), tile % self.tiles
        x = (self._first[1] + column - half).double() * TILE * self._pitch
        y = (half - self._first[0] - row).double() * TILE * self._pitch
        base = torch.stack([x, y, -torch.ones_like(x)], -1)[:, None, :, None]
        forms = (forms + forms.transpose(-1, -2)) / 2
        turned = (forms @ base).squeeze(-1)  # (K,R,3)
        constant = (turned * base[..., 0]).sum(-1)
        coefficients = [
            forms[..., 0, 0],
            forms[..., 1, 1],
            2 * forms[..., 0, 1],
            2 * turned[..., 0],
            2 * turned[..., 1],
        ]
        return torch.stack([*coefficients, constant], -1).float() @ self._monomials


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """Outer products (...,3), (...,3) -> (...,3,3)."""
    return a[..., :, None] * b[..., None, :]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Dot products (K,3), (K,3) -> (K,1,1), in the shape that scales forms."""
    return (a * b).sum(-1)[:, None, None]


def _linear(a: Tensor) -> Tensor:
    """Quadratic form of the linear function a.d on rays whose third component is -1."""
    return _outer(a, torch.tensor([0.0, 0.0, -1.0], dtype=a.dtype, device=a.device).expand_as(a))


def _nearer_root(root: Tensor, b: Tensor, a: Tensor) -> Tensor:
    """The smaller t of a t^2 + 2 b t + c = 0, given root = b^2 - a c; infinite where none is positive."""
    t = (-b - root.clamp(min=0).sqrt()) / a
    return torch.where((root > 0) & (t > 0), t, math.inf)


class _AffineView:
    """Pairs of affine solid and tile, with the transform from camera axes to the unit solid."""

    def __init__(self, solids: AffineSolids, eye: Tensor, axes: Tensor, screen: PixelGrid):
        frame, offset = solids.frame, eye[solids.frame] - solids.center
        center = -torch.einsum("sji,sj->si", axes[frame], offset)
        solid, self.tile = screen.covered(center, center, solids.radius)
        self.slot = frame[solid] * screen.count + self.tile
        self.color = solids.color[solid]
        self.to_unit = (solids.matrix @ axes[frame])[solid]  # (K,3,3) camera axes -> unit solid
        # Position of the eye in the unit solid.
        self.origin = torch.einsum("sij,sj->si", solids.matrix, offset)[solid]

    def unit_point(self, pair: Tensor, point: Tensor) -> Tensor:
        """Points (P,3) in the unit solid, from camera axes."""
        return self.origin[pair] + torch.einsum("kij,kj->ki", self.to_unit[pair], point)

    def to_camera(self, pair: Tensor, normal: Tensor) -> Tensor:
        """Unit normals (P,3) in camera axes, from normals of the unit solid."""
        return normalize(torch.einsum("kji,kj->ki", self.to_unit[pair], normal), dim=-1)


class BallIntersections:
    """Intersections with ellipsoids: roots of a quadratic in the axes of the unit ball."""

    def __init__(self, solids: AffineSolids, eye: Tensor, axes: Tensor, screen: PixelGrid):
        view = _AffineView(solids, eye, axes, screen)
        self.slot, self.color, self._view = view.slot, view.color, view
        m, o = view.to_unit.double(), view.origin.double()
        square, slope = m.transpose(1, 2) @ m, torch.einsum("kji,kj->ki", m, o)
        root = _outer(slope, slope) - square * ((o * o).sum(-1) - 1)[:, None, None]
        forms = torch.stack([root, _linear(slope), square], 1)
        self.depth = _nearer_root(*screen.evaluate(forms, view.tile).unbind(1))

    def normal(self, pair: Tensor, point: Tensor) -> Tensor:
        """Unit normals (P,3) at points (P,3) of the pairs (P,), all in camera axes."""
        return self._view.to_camera(pair, self._view.unit_point(pair, point))


class CubeIntersections:
    """Intersections with boxes: the slab method in the axes of the unit cube."""

    def __init__(self, solids: AffineSolids, eye: Tensor, axes: Tensor, screen: PixelGrid):
        view = _AffineView(solids, eye, axes, screen)
        self.slot, self.color, self._view = view.slot, view.color, view
        d = screen.evaluate(_linear(view.to_unit.double()), view.tile)
        inverse, o = 1 / torch.where(d.abs() < 1e-9, 1e-9, d), view.origin[:, :, None]
        low, high = (-1 - o) * inverse, (1 - o) * inverse
        enter, leave = torch.minimum(low, high).amax(1), torch.maximum(low, high).amin(1)
        self.depth = torch.where((enter < leave) & (enter > 0), enter, math.inf)

    def normal(self, pair: Tensor, point: Tensor) -> Tensor:
        """Unit normals (P,3) at points (P,3) of the pairs (P,), all in camera axes."""
        p = self._view.unit_point(pair, point)
        return self._view.to_camera(
            pair, torch.where(p.abs() >= p.abs().amax(-1, keepdim=True), p.sign(), 0.0)
        )


class ConeIntersections:
    """Intersections with round cones for rays of any length (Quilez 2018, "Rounded cone - intersection")."""

    def __init__(self, solids: RoundCones, eye: Tensor, axes: Tensor, screen: PixelGrid):
        frame, to_camera = solids.frame, axes[solids.frame].transpose(1, 2)
        a = torch.einsum("sij,sj->si", to_camera, solids.a - eye[frame])
        b = torch.einsum("sij,sj->si", to_camera, solids.b - eye[frame])
        solid, tile = screen.covered(a, b, torch.maximum(solids.ra, solids.rb))
        self.slot = frame[solid] * screen.count + tile
        self.color = solids.color[solid]
        self._a, self._ba, self._ra, self._rb = a[solid], (b - a)[solid], solids.ra[solid], solids.rb[solid]

        # The names m0..m6 and k0..k2 are Quilez's, with oa = -a. Scalars are (K,1,1) to scale forms.
        oa, ob, ba = -a[solid].double(), -b[solid].double(), self._ba.double()
        ra, rb = (r.double()[:, None, None] for r in (self._ra, self._rb))
        rr, m0, m1, m3 = ra - rb, _dot(ba, ba), _dot(ba, oa), _dot(oa, oa)
        one = torch.eye(3, dtype=torch.float64, device=a.device).expand(len(oa), 3, 3)
        d2 = m0 - rr * rr
        slope = d2[..., 0] * oa + (rr * ra - m1)[..., 0] * ba  # k1 is linear in the ray
        k2 = d2 * one - _outer(ba, ba)
        k0 = d2 * m3 - m1 * m1 + 2 * m1 * rr * ra - m0 * ra * ra
        forms = [
            _outer(slope, slope) - k0 * k2, _linear(slope), k2, _linear(ba),
            _outer(oa, oa) - (m3 - ra * ra) * one, _linear(oa),
            _outer(ob, ob) - (_dot(ob, ob) - rb * rb) * one, _linear(ob), one,
        ]  # fmt: skip
        root, k1, k2, m2, root_a, m5a, root_b, m5b, m6 = screen.evaluate(torch.stack(forms, 1), tile).unbind(
            1
        )
        side = _nearer_root(root, k1, torch.where(k2.abs() < 1e-12, 1e-12, k2))
        y = (m1 - ra * rr)[:, :, 0].float() + side * m2
        side = torch.where((y > 0) & (y < d2[:, :, 0].float()), side, math.inf)
        caps = torch.minimum(_nearer_root(root_a, m5a, m6), _nearer_root(root_b, m5b, m6))
        self.depth = torch.minimum(side, caps)

    def normal(self, pair: Tensor, point: Tensor) -> Tensor:
        """Unit normals (P,3) at points (P,3) of the pairs (P,), all in camera axes."""
        ba, rr = self._ba[pair], (self._ra - self._rb)[pair][:, None]
        p = point - self._a[pair]
        length2 = (ba * ba).sum(-1, keepdim=True)
        along = (p * ba).sum(-1, keepdim=True) / length2
        distance = (p - along * ba).norm(dim=-1, keepdim=True)
        lean = rr / (length2 - rr * rr).clamp(min=1e-9).sqrt()
        # Position on the axis of the center of the ball that touches the point.
        center = (along - distance * lean / length2.sqrt()).clamp(0, 1)
        return normalize(p - center * ba, dim=-1)
