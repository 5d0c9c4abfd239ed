"""Regularizers: what a radiance field should be like whatever it shows, each as one number to keep small."""

import torch
from torch import Tensor

from dream3d.nerf.radiance_fields import RadianceField, normals
from dream3d.nerf.volume_rendering import RaySamples, RenderedViews

FLOOR = 0.01  # under the root of the opacity penalty, so that its slope at 0 is finite
HARDLY = 0.01  # of a pixel: most samples of a ray are in front of the surface or behind it
POINTS = 8192  # where empty_space is looked for
CELLS = 32  # along the box's longest side: a piece of that size counts as full once it is opaque
SHIFT = 0.04  # of the point that a normal is compared with, world units: a cell of the standard preset


def sparsity(render: RenderedViews) -> Tensor:
    """Mean of sqrt(opacity^2 + 0.01): the less is filled, the smaller (DreamFusion, appendix A.2)."""
    return (render.opacity.square() + FLOOR).sqrt().mean()


def entropy(render: RenderedViews) -> Tensor:
    """Mean binary entropy of the opacity in bits, [0, 1]: no fog, each pixel is either covered or not."""
    share = render.opacity.clamp(1e-5, 1 - 1e-5)
    return -(share * share.log2() + (1 - share) * (1 - share).log2()).mean()


def orientation(samples: RaySamples) -> Tensor:
    """Mean over rays of sum w max(0, n . d)^2: visible surfaces face the eye.

    Verbin et al. 2022, "Ref-NeRF", equation 11, with weights as constants (DreamFusion, appendix A.2).
    Raises ValueError for a render without normals.
    """
    if samples.normal is None:
        raise ValueError("orientation needs a render with normals")
    away = (samples.normal * samples.direction).sum(-1).clamp(min=0)
    return (samples.weight.detach() * away.square()).sum() / _rays(samples)


def smoothness(field: RadianceField, samples: RaySamples, generator: torch.Generator) -> Tensor:
    """Mean over rays of sum w |n(x) - n(x + e)|^2 / 4, e a small random shift: no bumps (RegNeRF's spirit).

    Normals are the field's; weights are constants, and samples that hardly show are left out. In [0, 1].
    """
    shown = samples.weight.detach() > HARDLY
    point, weight = samples.point[shown], samples.weight.detach()[shown]
    shift = SHIFT * torch.randn(point.shape, generator=generator, device=generator.device)
    here, there = normals(field, torch.cat([point, point + shift.to(point)])).chunk(2)
    apart = (here - there).square().sum(-1) / 4
    return (weight * apart).sum() / _rays(samples)


def empty_space(field: RadianceField, generator: torch.Generator) -> Tensor:
    """Mean of exp(-density side / 32) over points drawn in the box: what no view contradicts is full.

    Pictures of one color do not tell a bulge from a dent; with this the visual hull is what they mean
    (Laurentini 1994, "The visual hull concept for silhouette-based image understanding"). In [0, 1].
    """
    low, high = field.bounds
    share = torch.rand(POINTS, 3, generator=generator, device=generator.device).to(low)
    cell = (high - low).max() / CELLS
    return (-field.density(low + share * (high - low)) * cell).exp().mean()


def distortion(samples: RaySamples) -> Tensor:
    """Mean over rays of sum_ij w_i w_j |t_i - t_j| + sum_i w_i^2 delta_i / 3, in world units: no floaters.

    Barron et al. 2022, "Mip-NeRF 360", equation 15, with distances instead of shares of the ray. Samples come
    in rising order, so the double sum is one of running totals (Sun et al. 2022, "Improved Direct Voxel Grid
    Optimization").
    """
    weight, t = samples.weight.double(), samples.t.double()
    first = torch.ones_like(samples.ray, dtype=torch.bool)
    first[1:] = samples.ray[1:] != samples.ray[:-1]
    start = first.nonzero()[:, 0][first.cumsum(0) - 1]  # where the sample's own ray begins

    def before(values: Tensor) -> Tensor:
        total = torch.cat([values.new_zeros(1), values.cumsum(0)])
        return total[:-1] - total[start]

    between = 2 * weight * (t * before(weight) - before(weight * t))
    within = weight.square() * samples.delta / 3
    return ((between + within).sum() / _rays(samples)).to(samples.weight.dtype)


def _rays(samples: RaySamples) -> int:
    """How many rays have samples; at least 1."""
    return max(1, len(samples.ray.unique_consecutive()))
