"""Other ways of rendering rays of one radiance field: without skipping any sample.

`march_dense` is nerfacc's batched functions on equal intervals. `march_with_importance` is the algorithm of
stable-dreamfusion's renderer without CUDA, written from its description: coarse samples, more where they
weigh most (Mildenhall et al. 2020, "NeRF", section 5.2), then density and color of all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from nerfacc.volrend import accumulate_along_rays, render_weight_from_density
from torch import Tensor

from dream3d.nerf.radiance_fields import RadianceField

STEPS, MORE_STEPS = 64, 32  # coarse and further samples of stable-dreamfusion, its defaults
FLOOR = 1e-5  # of a weight, where all are zero


class BoxRays(NamedTuple):
    """R rays, each with the distances at which it enters and leaves the field's box."""

    origins: Tensor  # (R,3)
    directions: Tensor  # (R,3) unit
    near: Tensor  # (R,1)
    far: Tensor  # (R,1), at least `near`

    @classmethod
    def through(cls, field: RadianceField, origins: Tensor, directions: Tensor) -> BoxRays:
        """Rays with their intervals in the box of a field; empty ones where they miss it."""
        faces = (torch.stack(field.bounds)[:, None] - origins) / directions
        near = faces.amin(0).amax(-1, keepdim=True).clamp(min=0)
        return cls(origins, directions, near, torch.maximum(near, faces.amax(0).amin(-1, keepdim=True)))

    def points(self, t: Tensor) -> Tensor:
        """Points (R,S,3) at distances t (R,S)."""
        return self.origins[:, None] + self.directions[:, None] * t[..., None]


def march_dense(field: RadianceField, rays: BoxRays, samples: int, background: Tensor) -> Tensor:
    """Colors (R,3) over a background (3,), from one sample in the middle of each of equal intervals."""
    edges = rays.near + (rays.far - rays.near) * torch.linspace(0, 1, samples + 1, device=rays.near.device)
    starts, ends = edges[:, :-1], edges[:, 1:]
    density, color = field(rays.points((starts + ends) / 2).reshape(-1, 3))
    weights, _, _ = render_weight_from_density(starts, ends, density.view_as(starts))
    return _over(weights, color.view(*starts.shape, 3), background)


def march_with_importance(
    field: RadianceField,
    rays: BoxRays,
    background: Tensor,
    generator: torch.Generator,
    steps: int = STEPS,
    more: int = MORE_STEPS,
) -> Tensor:
    """Colors (R,3) over a background (3,), from coarse samples and more of them by importance."""
    spacing = (rays.far - rays.near) / steps
    jitter = torch.rand(len(spacing), steps, generator=generator).to(spacing) - 0.5
    t = (
        rays.near
        + (rays.far - rays.near) * torch.linspace(0, 1, steps, device=spacing.device)
        + jitter * spacing
    )
    coarse = field.density(rays.points(t).reshape(-1, 3)).view_as(t)
    with torch.no_grad():
        weights = _weights(coarse, t, spacing)
        further = sample_by_weight(t, weights, more, generator)
    # It evaluates the densities of the further samples alone, and then again with the colors.
    field.density(rays.points(further).reshape(-1, 3))
    t = torch.cat([t, further], 1).sort(1).values
    density, color = field(rays.points(t).reshape(-1, 3))
    return _over(_weights(density.view_as(t), t, spacing), color.view(*t.shape, 3), background)


def sample_by_weight(t: Tensor, weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Distances (R,count) from the density that is constant between midpoints of t (R,S), by weights (R,S).

    Inverse transform sampling; the first and the last sample have no interval of their own.
    """
    middle = (t[:, 1:] + t[:, :-1]) / 2
    share = weights[:, 1:-1] + FLOOR
    total = torch.cat([torch.zeros_like(share[:, :1]), share.cumsum(1)], 1)
    total = total / total[:, -1:]
    u = torch.rand(len(t), count, generator=generator).to(t)
    above = torch.searchsorted(total, u, right=True).clamp(1, total.shape[1] - 1)
    low, high = total.gather(1, above - 1), total.gather(1, above)
    start, end = middle.gather(1, above - 1), middle.gather(1, above)
    return start + (end - start) * (u - low) / (high - low).clamp(min=FLOOR)


def _weights(density: Tensor, t: Tensor, spacing: Tensor) -> Tensor:
    """Weights (R,S) of samples at distances t, each of which stands for the way to the next."""
    lengths = torch.cat([t[:, 1:] - t[:, :-1], spacing], 1)
    opacity = 1 - torch.exp(-density * lengths)
    clear = torch.cat([torch.ones_like(opacity[:, :1]), 1 - opacity + 1e-15], 1)
    return opacity * clear.cumprod(1)[:, :-1]


def _over(weights: Tensor, color: Tensor, background: Tensor) -> Tensor:
    """Colors (R,3) of samples (R,S,3) over a background."""
    return accumulate_along_rays(weights, color) + (1 - weights.sum(1, keepdim=True)) * background
