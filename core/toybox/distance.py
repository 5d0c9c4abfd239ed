"""Signed distance of points to solids, for volumes, surfaces and fields of the toybox."""

from __future__ import annotations

import torch
from torch import Tensor

from core.toybox.solids import AffineSolids, RoundCones, Solids


def signed_distance(solids: Solids, points: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distance (M,) to the nearest surface, negative inside, and the color (M,3) of its solid.

    solids: of one frame; points: (M,3), world. The distance to round cones is exact (Quilez, "Distance
    functions"). For ellipsoids and boxes it is a first-order estimate with the correct sign everywhere.
    """
    parts = solids.ellipsoids, solids.boxes, solids.cones
    distances = torch.cat(
        [
            _affine(parts[0], points, cube=False),
            _affine(parts[1], points, cube=True),
            _cones(parts[2], points),
        ]
    )
    nearest, solid = distances.min(0)
    return nearest, torch.cat([part.color for part in parts])[solid]


def _affine(solids: AffineSolids, points: Tensor, cube: bool) -> Tensor:
    """Distances (S,M): f / |grad f|, where f, the norm in the unit solid minus 1, is 0 on the surface."""
    local = torch.einsum("sij,smj->smi", solids.matrix, points[None] - solids.center[:, None])
    if cube:
        # The largest of the signed distances to three slabs is exact inside and in front of a face.
        extent = 1 / solids.matrix.norm(dim=2)
        return ((local.abs() - 1) * extent[:, None]).amax(-1)
    norm = local.norm(dim=-1)
    slope = torch.einsum("sij,smi->smj", solids.matrix, local).norm(dim=-1) / norm.clamp(min=1e-6)
    return (norm - 1) / slope.clamp(min=1e-6)


def _cones(cones: RoundCones, points: Tensor) -> Tensor:
    """Distances (S,M)."""
    axis = cones.b - cones.a
    length2 = axis.square().sum(-1)[:, None].clamp(min=1e-12)
    shrink = (cones.ra - cones.rb)[:, None]
    from_a = points[None] - cones.a[:, None]
    along = torch.einsum("smi,si->sm", from_a, axis)
    aside2 = (from_a * length2[..., None] - axis[:, None] * along[..., None]).square().sum(-1)
    beyond = along - length2
    # Regions: before the cap of a, beyond the cap of b, or at the side between them.
    slope2 = length2 - shrink.square()
    k = shrink.sign() * shrink.square() * aside2
    at_a = (along.square() * length2 + aside2).sqrt() / length2 - cones.ra[:, None]
    at_b = (beyond.square() * length2 + aside2).sqrt() / length2 - cones.rb[:, None]
    between = ((aside2 * slope2.clamp(min=0) / length2).sqrt() + along * shrink) / length2 - cones.ra[:, None]
    before_a = along.sign() * slope2 * along.square() * length2 <= k
    after_b = beyond.sign() * slope2 * beyond.square() * length2 > k
    side = torch.where(after_b, at_b, torch.where(before_a, at_a, between))
    # Where slope2 <= 0, one ball contains the other.
    return torch.where(slope2 > 0, side, torch.minimum(at_a, at_b))
