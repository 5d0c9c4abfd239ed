"""Volume rendering of a radiance field: sample along rays, shade, accumulate; CPU or GPU.

Max 1995, "Optical models for direct volume rendering"; Mildenhall et al. 2020, "NeRF", section 4. Weights and
sums along rays are nerfacc's batched functions. The density is constant across each interval of a ray: the
weight of a sample is the transmittance before it times the opacity of its own interval.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dream3d.nerf.cameras import EVERY_PIXEL, Cameras, PixelStride
from dream3d.nerf.occupancy_grid import OccupancyGrid
from dream3d.nerf.radiance_fields import RadianceField, normals

with warnings.catch_warnings():  # of escapes in its docstrings, from Python 3.12 on
    warnings.simplefilter("ignore", SyntaxWarning)
    from nerfacc.volrend import accumulate_along_rays, render_weight_from_density

FAINT = 1e-4  # lower bound of the opacity by which depth is divided


class RaySamples(NamedTuple):
    """The M evaluated samples, sorted by ray and by distance from the eye; for regularizers."""

    ray: Tensor  # (M,) int64 into the N*H*W pixels
    point: Tensor  # (M,3) world
    direction: Tensor  # (M,3) unit, away from the eye
    t: Tensor  # (M,) distance from the eye, world units
    delta: Tensor  # (M,) length of the sample's interval
    density: Tensor  # (M,) per world unit
    weight: Tensor  # (M,) share of the pixel, in [0,1]
    normal: Tensor | None  # (M,3) unit, world axes


class RenderedViews(NamedTuple):
    """Renders of N cameras."""

    color: Tensor  # (N,3,H,W) in [0,1], over the background
    opacity: Tensor  # (N,1,H,W) in [0,1]
    depth: Tensor  # (N,1,H,W) along the optical axis in world units, mean by weight; 0 where all is empty
    normals: Tensor | None  # (N,3,H,W) world axes, unit normals times weights
    samples: RaySamples


class Shader(Protocol):
    """Shading of samples: maps the field's colors to lit colors."""

    def __call__(
        self, color: Tensor, normal: Tensor, point: Tensor, direction: Tensor, camera: Tensor
    ) -> Tensor:
        """Lit colors (M,3) of M samples.

        color: (M,3) in [0,1], the field's.
        normal: (M,3) unit, world axes.
        point: (M,3) world.
        direction: (M,3) unit, world axes, away from the eye.
        camera: (M,) int64, index of each sample's camera.
        """
        ...


@dataclass(frozen=True)
class PointLightShader:
    """Lambertian shading with one point light per camera. A `Shader`.

    color * (ambient + diffuse max(0, normal . to_light)): Poole et al. 2022, "DreamFusion", section 3.1,
    with the intensities of appendix A.

    lights: (N,3) world positions, see `cameras.point_lights`.
    textureless: replaces the field's color by 1, so that only the shape is visible.
    """

    lights: Tensor
    ambient: float = 0.1
    diffuse: float = 0.9
    textureless: bool = False

    def __call__(
        self, color: Tensor, normal: Tensor, point: Tensor, direction: Tensor, camera: Tensor
    ) -> Tensor:
        """As `Shader`."""
        to_light = normalize(self.lights.to(point)[camera] - point, dim=-1)
        light = self.ambient + self.diffuse * (normal * to_light).sum(-1, keepdim=True).clamp(min=0)
        return light.expand_as(color) if self.textureless else color * light


class Rays(NamedTuple):
    """R rays of all pixels of all views, in the order view, row, column."""

    origins: Tensor  # (R,3) world
    directions: Tensor  # (R,3) unit, away from the eye
    cosines: Tensor  # (R,) of the angle to the optical axis: depth is distance times this


class RayIntervals(NamedTuple):
    """M intervals of rays that are evaluated, each with one sample; the others are empty or occluded.

    Sorted by ray and by distance. A coordinate of all points is contiguous in memory: broadcasting along a
    last axis of length 3 is several times as slow.
    """

    rays: Tensor  # (M,) int64 into the R rays
    steps: Tensor  # (M,) int64 into the intervals of a ray
    points: Tensor  # (M,3) world
    t: Tensor  # (M,) distance from the eye
    deltas: Tensor  # (M,) length of the interval

    def weights(self, density: Tensor, samples: int) -> Tensor:
        """Weights (M,) of densities (M,), on rays of so many intervals."""
        active, rows = self.rays.unique_consecutive(return_inverse=True)
        place = rows * samples + self.steps

        def table(values: Tensor) -> Tensor:
            empty = values.new_zeros(len(active) * samples)
            return empty.scatter(0, place, values).reshape(-1, samples)

        deltas = table(self.deltas)
        weight, _, _ = render_weight_from_density(torch.zeros_like(deltas), deltas, table(density))
        return _rows(weight.flatten(), place)


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
    least_weight: float = 0.0,
    pixels: PixelStride = EVERY_PIXEL,
) -> RenderedViews:
    """Square renders of `size` pixels, differentiable in the field, the background and the lights.

    samples: number of equal intervals of each ray within the field's box, with one sample in each.
    background: color in [0,1], (3,), (N,3) or (N,3,size,size).
    generator: samples lie at uniformly random points of their intervals; without it, in the middle.
    occupancy: samples in its empty cells have density 0 and are not evaluated.
    shader: None renders the field's own colors ("albedo").
    with_normals: returns normals; shaders use smoothed ones.
    early_stop: samples with less transmittance than this are skipped, which takes an extra evaluation of the
        densities; 0 evaluates all samples.
    least_weight: samples that weigh less than this in their pixel are skipped too: no gradient reaches them.
    pixels: the renders consist of these pixels of renders of size * stride pixels.

    Raises ValueError for size or samples below 1, and for a background or lights of the wrong shape.
    """
    if size < 1 or samples < 1:
        raise ValueError(f"size and samples must be at least 1, not {size} pixels and {samples} samples")
    count, device = len(cameras), field.low.device
    if isinstance(shader, PointLightShader) and shader.lights.shape != (count, 3):
        raise ValueError(f"{count} cameras need {count} lights (N,3), not {tuple(shader.lights.shape)}")
    backdrop = _backdrop(background.to(field.low), count, size)

    with torch.no_grad():
        rays = make_rays(cameras.to(device), size, pixels, field.low.dtype)
        intervals = sample_along_rays(rays, field, samples, generator, occupancy, early_stop, least_weight)
    view = intervals.rays // size**2
    density, color, normal = shade(field, intervals, rays, view, shader, with_normals)
    weight = intervals.weights(density, samples)
    return accumulate(intervals, rays, density, weight, color, normal, backdrop, (count, size))


def make_rays(cameras: Cameras, size: int, pixels: PixelStride, dtype: torch.dtype) -> Rays:
    """Rays of the selected `size` x `size` pixels of each camera."""
    eye, directions = (x.to(dtype) for x in cameras.rays(size * pixels.stride, pixels))
    back = cameras.axes()[1][:, :, 2].to(eye.dtype)
    cosines = -(directions @ back[:, None, :, None]).flatten()
    # The layout of all points follows that of the rays.
    origins = eye.T.repeat_interleave(size * size, 1)
    return Rays(origins.T, directions.movedim(-1, 0).flatten(1).T, cosines)


def sample_along_rays(
    rays: Rays,
    field: RadianceField,
    samples: int,
    generator: torch.Generator | None = None,
    occupancy: OccupancyGrid | None = None,
    early_stop: float = 0.0,
    least_weight: float = 0.0,
) -> RayIntervals:
    """One sample in each of `samples` equal intervals of every ray within the field's box.

    The parameters are those of `render`.
    """
    near, far = _clip(rays.origins, rays.directions, *field.bounds)
    deltas = (far - near).clamp(min=0) / samples
    device = rays.origins.device
    offset: Tensor | float = 0.5
    if generator is not None:
        shape = (len(rays.origins), samples)
        offset = torch.rand(shape, generator=generator, device=generator.device).to(device)
    t = near[:, None] + (torch.arange(samples, device=device) + offset) * deltas[:, None]
    points = torch.addcmul(rays.origins.T[:, :, None], rays.directions.T[:, :, None], t).movedim(0, -1)
    kept = (deltas > 0)[:, None].expand_as(t)
    if occupancy is not None:
        kept = kept & occupancy.contains(points)
    points = points.flatten(0, 1)
    if early_stop > 0 or least_weight > 0:
        place = kept.flatten().nonzero()[:, 0]
        density = points.new_zeros(len(points)).scatter(0, place, field.density(_rows(points, place)))
        weight, transmittance, _ = render_weight_from_density(
            torch.zeros_like(deltas)[:, None], deltas[:, None], density.view_as(t)
        )
        kept = kept & (transmittance >= early_stop) & (weight >= least_weight)
    place = kept.flatten().nonzero()[:, 0]
    ray = place // samples
    return RayIntervals(
        ray, place % samples, _rows(points, place), _rows(t.flatten(), place), _rows(deltas, ray)
    )


def shade(
    field: RadianceField,
    intervals: RayIntervals,
    rays: Rays,
    view: Tensor,
    shader: Shader | None,
    with_normals: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Density (M,), color (M,3) in [0,1] and, with `with_normals`, normals (M,3) of the samples.

    view: (M,) int64, index of each sample's camera.
    """
    density, color = field(intervals.points)
    normal = normals(field, intervals.points) if with_normals else None
    if shader is not None:
        smoothed = normals(field, intervals.points, smoothed=True)
        direction = _rows(rays.directions, intervals.rays)
        color = shader(color, smoothed, intervals.points, direction, view)
    return density, color, normal


def accumulate(
    intervals: RayIntervals,
    rays: Rays,
    density: Tensor,
    weight: Tensor,
    color: Tensor,
    normal: Tensor | None,
    backdrop: Tensor,
    shape: tuple[int, int],
) -> RenderedViews:
    """Composites shaded samples over a backdrop that broadcasts to (N,3,size,size); shape: (N, size)."""
    count, size = shape
    depth = intervals.t * _rows(rays.cosines, intervals.rays)
    values = [color, depth[:, None], torch.ones_like(depth)[:, None]]
    features = torch.cat(values if normal is None else [*values, normal], dim=1)
    total = accumulate_along_rays(weight, features, intervals.rays, len(rays.origins))
    # Split first, then transposed: the gradient of the total is contiguous, and is read twelve times as fast.
    widths = [3, 1, 1] if normal is None else [3, 1, 1, 3]
    tint, distance, opacity, *facing = (part.T.contiguous() for part in total.split(widths, dim=1))

    def image(channels: Tensor) -> Tensor:
        return channels.reshape(-1, count, size, size).transpose(0, 1)

    return RenderedViews(
        image(tint) + (1 - image(opacity)) * backdrop,
        image(opacity),
        image(distance / opacity.clamp(min=FAINT)),
        None if normal is None else image(facing[0]),
        RaySamples(
            intervals.rays,
            intervals.points,
            _rows(rays.directions, intervals.rays),
            intervals.t,
            intervals.deltas,
            density,
            weight,
            normal,
        ),
    )


def _rows(values: Tensor, chosen: Tensor) -> Tensor:
    """Rows `chosen` of values (M,) or (M,3), coordinate by coordinate in memory.

    On a CPU `index_select` along a contiguous axis takes a quarter of the time of `values[chosen]`.
    """
    return values.movedim(0, -1).contiguous().index_select(-1, chosen).movedim(-1, 0)


def _backdrop(background: Tensor, count: int, size: int) -> Tensor:
    """The background as (1,3,1,1), (N,3,1,1) or (N,3,size,size)."""
    if background.shape in ((3,), (count, 3)):
        return background.reshape(-1, 3, 1, 1)
    if background.shape != (count, 3, size, size):
        raise ValueError(
            f"a background of shape {tuple(background.shape)} does not fit {count} renders of {size} pixels"
        )
    return background


def _clip(eye: Tensor, directions: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (R,) at which rays enter (>= 0) and leave the box; entry >= exit for rays that miss it."""
    # Avoids 0 / 0 for rays along a face.
    safe = torch.where(directions.abs() < 1e-9, 1e-9, directions)
    a, b = (low - eye) / safe, (high - eye) / safe
    return torch.minimum(a, b).amax(-1).clamp(min=0), torch.maximum(a, b).amin(-1)
