"""Volume rendering of a field: rays marched in one batch, empty space skipped, light added; CPU or GPU.

Max 1995, "Optical models for direct volume rendering"; Mildenhall et al. 2020, "NeRF", section 4. The density
is constant across each interval of a ray, so a sample's weight is what the samples before it let through
times the opacity of its own interval: the same as nerfacc's `render_weight_from_density`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dream3d.nerf.cameras import Cameras
from dream3d.nerf.occupancy_grid import OccupancyGrid
from dream3d.nerf.radiance_fields import RadianceField, normals

FAINT = 1e-4  # opacity below which a pixel's depth fades to 0 instead of dividing by next to nothing


class RaySamples(NamedTuple):
    """The M samples that were evaluated, ray after ray from the eye on: what regularizers work with."""

    ray: Tensor  # (M,) int64 into the N*H*W pixels
    point: Tensor  # (M,3) world
    direction: Tensor  # (M,3) unit, away from the eye
    t: Tensor  # (M,) distance from the eye, world units
    delta: Tensor  # (M,) length of the sample's interval
    density: Tensor  # (M,) per world unit
    weight: Tensor  # (M,) share of the pixel, in [0,1]
    normal: Tensor | None  # (M,3) unit, world axes


class RenderedViews(NamedTuple):
    """Pictures of N cameras."""

    color: Tensor  # (N,3,H,W) in [0,1], over the background
    opacity: Tensor  # (N,1,H,W) in [0,1]
    depth: (
        Tensor  # (N,1,H,W) along the optical axis in world units, mean of what is opaque; 0 where nothing is
    )
    normals: Tensor | None  # (N,3,H,W) world axes, unit normals times weights
    samples: RaySamples


class PixelStride(NamedTuple):
    """Every `stride`-th pixel in both directions, from (row, column) on, both below the stride.

    Pixels of many pictures teach more than all pixels of a few, and cost the same.
    """

    stride: int = 1
    row: int = 0
    column: int = 0

    def select(self, pictures: Tensor) -> Tensor:
        """Those pixels of pictures (...,H,W)."""
        return pictures[..., self.row :: self.stride, self.column :: self.stride]


EVERY_PIXEL = PixelStride()


class Shader(Protocol):
    """What the light makes of the samples' own colors."""

    def __call__(
        self, color: Tensor, normal: Tensor, point: Tensor, direction: Tensor, camera: Tensor
    ) -> Tensor:
        """color: (M,3) in [0,1], the samples' own; normal, direction: (M,3) unit, world axes, the direction
        away from the eye; point: (M,3) world; camera: (M,) which one looks. Returns (M,3)."""
        ...


@dataclass(frozen=True)
class PointLightShader:
    """Lambertian light from one point for each camera, on every sample. A `Light`.

    color * (ambient + diffuse max(0, normal . to_light)): Poole et al. 2022, "DreamFusion", section 3.1,
    with the intensities of appendix A.

    lights: (N,3) world positions, see `camera.point_lights`.
    textureless: color 1 in place of the field's, which leaves only the shape to see.
    """

    lights: Tensor
    ambient: float = 0.1
    diffuse: float = 0.9
    textureless: bool = False

    def __call__(
        self, color: Tensor, normal: Tensor, point: Tensor, direction: Tensor, camera: Tensor
    ) -> Tensor:
        """As `Light`."""
        to_light = normalize(self.lights.to(point)[camera] - point, dim=-1)
        light = self.ambient + self.diffuse * (normal * to_light).sum(-1, keepdim=True).clamp(min=0)
        return light.expand_as(color) if self.textureless else color * light


def render_weights(thickness: Tensor) -> Tensor:
    """Weights T_i (1 - exp(-thickness_i)), T_i = exp(-sum_{j<i} thickness_j), along the last axis.

    thickness: density times length of interval, (...,S), from the eye on.
    """
    return _transmittance(thickness) * -torch.expm1(-thickness)


def _transmittance(thickness: Tensor) -> Tensor:
    """What of the light from behind passes the intervals before each one, (...,S)."""
    return (thickness - thickness.cumsum(-1)).exp()


def render(
    field: RadianceField,
    cameras: Cameras,
    size: int,
    samples: int,
    background: Tensor,
    *,
    generator: torch.Generator | None = None,
    occupancy: OccupancyGrid | None = None,
    shader: Shader | None = None,
    with_normals: bool = False,
    early_stop: float = 1e-4,
    pixels: PixelStride = EVERY_PIXEL,
) -> RenderedViews:
    """Square pictures of `size` pixels, differentiable in the field, the background and the lights.

    samples: equal intervals of each ray's way through the field's box, with one sample in each: uniformly
        distributed with a `generator`, in the middle without.
    background: color in [0,1], (3,), (N,3) or (N,3,size,size).
    occupancy: samples in its empty cells count as density 0 and are not evaluated.
    shading: None shows the field's own colors ("albedo").
    with_normals: whether to give normals; shading has its own, broader ones.
    early_stop: samples that less than this share of light would reach are left out, for which the densities
        are asked for once more beforehand; 0 evaluates all.
    lattice: the pictures consist of these pixels of larger ones.

    Raises ValueError for no pixels or samples, or a background or lights of another shape.
    """
    if size < 1 or samples < 1:
        raise ValueError(f"nothing to render with {size} pixels and {samples} samples")
    count, device = len(cameras), field.low.device
    if isinstance(shader, PointLightShader) and shader.lights.shape != (count, 3):
        raise ValueError(f"{count} cameras need as many lights, not {tuple(shader.lights.shape)}")
    backdrop = _backdrop(background.to(field.low), count, size)

    cameras = cameras.to(device)
    with torch.no_grad():
        eye, directions = (x.to(field.low.dtype) for x in cameras.rays(size * pixels.stride))
        directions = pixels.select(directions.movedim(-1, 1)).movedim(1, -1)
        back = cameras.axes()[1][:, :, 2].to(eye.dtype)
        optical = -(directions @ back[:, None, :, None]).flatten()  # cosine to the optical axis
        eye, directions = eye.repeat_interleave(size * size, 0), directions.reshape(-1, 3)
        near, far = _clip(eye, directions, *field.bounds)
        deltas = (far - near).clamp(min=0) / samples
        hit, slot, t = _march(eye, directions, near, deltas, samples, generator, occupancy)
        ray = hit[slot // samples]
        point = torch.addcmul(eye[ray], t[:, None], directions[ray])
        if early_stop > 0:
            before = _transmittance(_dense(field.density(point) * deltas[ray], slot, (len(hit), samples)))
            visible = (before.flatten()[slot] >= early_stop).nonzero()[:, 0]
            slot, t, ray, point = (x[visible] for x in (slot, t, ray, point))
        delta, direction = deltas[ray], directions[ray]

    density, color = field(point)
    normal = normals(field, point) if with_normals else None
    if shader is not None:
        color = shader(color, normals(field, point, smoothed=True), point, direction, ray // size**2)
    thickness = _dense(density * delta, slot, (len(hit), samples))
    weight = render_weights(thickness).flatten()[slot]

    def image(rays: Tensor) -> Tensor:
        return rays.reshape(-1, count, size, size).transpose(0, 1)

    seen = [color.T, (t * optical[ray])[None]] + ([] if normal is None else [normal.T])
    features = torch.cat(seen) * weight
    total = features.new_zeros(len(features), len(optical)).scatter_add(1, ray.expand_as(features), features)
    opacity = torch.zeros_like(total[0]).index_copy(0, hit, -torch.expm1(-thickness.sum(-1)))
    depth = total[3] / opacity.clamp(min=FAINT)
    return RenderedViews(
        image(total[:3]) + (1 - image(opacity)) * backdrop,
        image(opacity),
        image(depth),
        None if normal is None else image(total[4:]),
        RaySamples(ray, point, direction, t, delta, density, weight, normal),
    )


def _backdrop(background: Tensor, count: int, size: int) -> Tensor:
    """(1,3,1,1), (N,3,1,1) or (N,3,H,W)"""
    if background.shape in ((3,), (count, 3)):
        return background.reshape(-1, 3, 1, 1)
    if background.shape != (count, 3, size, size):
        raise ValueError(
            f"a background of shape {tuple(background.shape)} for {count} pictures of {size} pixels"
        )
    return background


def _clip(eye: Tensor, directions: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays (R,3) enter and leave the box, (R,) each, from the eye on; entry >= exit where they miss."""
    # A ray along a face would divide zero by zero.
    steep = torch.where(directions.abs() < 1e-9, 1e-9, directions)
    a, b = (low - eye) / steep, (high - eye) / steep
    return torch.minimum(a, b).amax(-1).clamp(min=0), torch.maximum(a, b).amin(-1)


def _dense(values: Tensor, slot: Tensor, shape: tuple[int, int]) -> Tensor:
    """A table of that shape with `values` (M,) in the places `slot` (M,) and zeros elsewhere."""
    return values.new_zeros(shape[0] * shape[1]).scatter(0, slot, values).reshape(shape)


def _march(
    eye: Tensor,
    directions: Tensor,
    near: Tensor,
    delta: Tensor,
    samples: int,
    generator: torch.Generator | None,
    occupancy: OccupancyGrid | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The samples that may see something: `hit` (A,), the rays that have any; `slot` (M,), each one's place
    in a table (A,samples) in rising order; `t` (M,), its distance from the eye."""
    within: Tensor | float = 0.5
    if generator is not None:
        shape = (len(eye), samples)
        within = torch.rand(shape, generator=generator, device=generator.device).to(eye.device)
    interval = torch.arange(samples, device=eye.device)
    t = near[:, None] + (interval + within) * delta[:, None]
    wanted = (delta > 0)[:, None].expand_as(t)
    if occupancy is not None:
        # Coordinates first: broadcasting along a last axis of three is ten times as slow.
        points = torch.addcmul(eye.T[:, :, None], directions.T[:, :, None], t)
        wanted = wanted & occupancy.contains(points.movedim(0, -1))
    hit = wanted.any(-1).nonzero()[:, 0]
    slot = wanted[hit].flatten().nonzero()[:, 0]
    return hit, slot, t[hit].flatten()[slot]
