"""Regularizers of a radiance field, independent of the prompt; each is a scalar to be minimized."""

import torch
from torch import Tensor

from core.io.machine import precise_dtype
from dream3d.nerf.radiance_fields import RadianceField, normals
from dream3d.nerf.volume_rendering import RaySamples, RenderedViews

FLOOR = 0.01  # added under the root of the sparsity penalty, so that its slope at 0 is finite
MIN_WEIGHT = 0.01  # samples with less weight are left out of smoothness: most are off the surface
POINTS = 8192  # random points at which empty_space evaluates the density
CELLS = 32  # cells along the box's longest side; empty_space measures the opacity of one cell
SHIFT = 0.04  # standard deviation of smoothness' offsets in world units: a cell of the standard preset


def sparsity(render: RenderedViews) -> Tensor:
    """Mean of sqrt(opacity^2 + 0.01): penalizes opacity (DreamFusion, appendix A.2)."""
    return (render.opacity.square() + FLOOR).sqrt().mean()


def entropy(render: RenderedViews) -> Tensor:
    """Mean binary entropy of the opacity in bits, [0, 1]: penalizes semi-transparent pixels."""
    share = render.opacity.clamp(1e-5, 1 - 1e-5)
    return -(share * share.log2() + (1 - share) * (1 - share).log2()).mean()


def orientation(samples: RaySamples) -> Tensor:
    """Mean over rays of sum w max(0, n . d)^2: penalizes visible normals that face away from the camera.

    Verbin et al. 2022, "Ref-NeRF", equation 11, with constant weights (DreamFusion, appendix A.2).
    Raises ValueError for a render without normals.
    """
    if samples.normal is None:
        raise ValueError("orientation needs a render with normals")
    backward = (samples.normal * samples.direction).sum(-1).clamp(min=0)
    return (samples.weight.detach() * backward.square()).sum() / _rays(samples)


def smoothness(field: RadianceField, samples: RaySamples, generator: torch.Generator) -> Tensor:
    """Mean over rays of sum w |n(x) - n(x + e)|^2 / 4, e a small random shift: penalizes bumps; in [0, 1].

    Similar to RegNeRF's depth smoothness, on normals of the field. Weights are constants; samples of weight
    below 0.01 are left out.
    """
    visible = samples.weight.detach() > MIN_WEIGHT
    point, weight = samples.point[visible], samples.weight.detach()[visible]
    shift = SHIFT * torch.randn(point.shape, generator=generator, device=generator.device)
    here, there = normals(field, torch.cat([point, point + shift.to(point)])).chunk(2)
    difference = (here - there).square().sum(-1) / 4
    return (weight * difference).sum() / _rays(samples)


def empty_space(field: RadianceField, generator: torch.Generator) -> Tensor:
    """Mean of exp(-density side / 32) over random points of the box: penalizes emptiness; in [0, 1].

    Images of one color do not distinguish a bulge from a dent. With this penalty the field fills all space
    that the silhouettes allow, the visual hull (Laurentini 1994, "The visual hull concept for
    silhouette-based image understanding").
    """
    low, high = field.bounds
    share = torch.rand(POINTS, 3, generator=generator, device=generator.device).to(low)
    cell = (high - low).max() / CELLS
    return (-field.density(low + share * (high - low)) * cell).exp().mean()


def distortion(samples: RaySamples) -> Tensor:
    """Mean over rays of sum_ij w_i w_j |t_i - t_j| + sum_i w_i^2 delta_i / 3: penalizes floaters.

    Barron et al. 2022, "Mip-NeRF 360", equation 15, with distances in world units instead of normalized ones.
    Samples are sorted along each ray, so prefix sums replace the double sum (Sun et al. 2022, "Improved
    Direct Voxel Grid Optimization").
    """
    precise = precise_dtype(samples.t.device)
    weight, t = samples.weight.to(precise), samples.t.to(precise)
    first = torch.ones_like(samples.ray, dtype=torch.bool)
    first[1:] = samples.ray[1:] != samples.ray[:-1]
    start = first.nonzero()[:, 0][first.cumsum(0) - 1]  # index of the first sample of each sample's ray

    def before(values: Tensor) -> Tensor:
        """Sum of the values of the earlier samples of the same ray."""
        total = torch.cat([values.new_zeros(1), values.cumsum(0)])
        return total[:-1] - total[start]

    between = 2 * weight * (t * before(weight) - before(weight * t))
    within = weight.square() * samples.delta / 3
    return ((between + within).sum() / _rays(samples)).to(samples.weight.dtype)


def _rays(samples: RaySamples) -> int:
    """Number of rays with samples; at least 1."""
    return max(1, len(samples.ray.unique_consecutive()))
