"""Orbiting pinhole cameras, their distribution in training, and the point lights that go with them.

`Cameras` is the one camera type of dream3d: the volume renderer, the mesh renderer and the conditions of the
model take it. Conventions and defaults are the toybox's (`core.toybox.camera`), on whose images the bundled
model is trained: azimuth 0 faces the front and grows counter-clockwise seen from above, degrees, +y up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from core.toybox import camera as toybox

TARGET = toybox.Camera.TARGET
DISTANCE = toybox.Camera.DISTANCE
FIELD_OF_VIEW = toybox.Camera.FIELD_OF_VIEW
ELEVATION = 13.0  # degrees; of the cameras that evaluate an object


class PixelStride(NamedTuple):
    """Every `stride`-th pixel in both directions, starting at (row, column), both below the stride.

    At equal cost, some pixels of many views constrain the field better than all pixels of a few.
    """

    stride: int = 1
    row: int = 0
    column: int = 0

    def select(self, pictures: Tensor) -> Tensor:
        """These pixels of images (...,H,W)."""
        return pictures[..., self.row :: self.stride, self.column :: self.stride]


EVERY_PIXEL = PixelStride()


@dataclass(frozen=True)
class Cameras:
    """N pinhole cameras on spheres around the points that they look at, with square images.

    The defaults are the toybox's canonical camera, `core.toybox.camera.Camera`, which also gives the axes.

    azimuth, elevation: (N,) degrees.
    distance: to the target in world units, a number or (N,).
    field_of_view: across the image in degrees, a number or (N,).
    target: (3,) or (N,3) world.

    Raises ValueError unless azimuth and elevation have the same shape (N,).
    """

    azimuth: Tensor
    elevation: Tensor
    distance: Tensor | float = DISTANCE
    field_of_view: Tensor | float = FIELD_OF_VIEW
    target: Tensor | tuple[float, float, float] = TARGET

    def __post_init__(self) -> None:
        if self.azimuth.ndim != 1 or self.azimuth.shape != self.elevation.shape:
            shapes = tuple(self.azimuth.shape), tuple(self.elevation.shape)
            raise ValueError(f"azimuth and elevation must both be (N,), not {shapes[0]} and {shapes[1]}")

    def __len__(self) -> int:
        """Number of cameras."""
        return len(self.azimuth)

    def to(self, device: torch.device | str) -> Cameras:
        """The cameras with their tensors on a device."""

        def move(value: Any) -> Any:
            return value.to(device) if isinstance(value, Tensor) else value

        return Cameras(*map(move, vars(self).values()))

    def __getitem__(self, index: slice | Tensor) -> Cameras:
        """The cameras of a slice, an index tensor or a boolean mask."""
        count, device = len(self), self.azimuth.device
        distance, view = (
            torch.as_tensor(x, device=device).expand(count)[index]
            for x in (self.distance, self.field_of_view)
        )
        target = torch.as_tensor(self.target, device=device).expand(count, 3)[index]
        return Cameras(self.azimuth[index], self.elevation[index], distance, view, target)

    def axes(self) -> tuple[Tensor, Tensor]:
        """Eyes (N,3) and axes (N,3,3) with the columns right, up, back; float32."""
        _, axes = toybox.Camera(self.azimuth, self.elevation).axes()
        device = axes.device
        distance = torch.as_tensor(self.distance, dtype=axes.dtype, device=device).expand(len(self))
        target = torch.as_tensor(self.target, dtype=axes.dtype, device=device)
        return target + distance[:, None] * axes[:, :, 2], axes

    def to_numpy(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Eyes (N,3), axes (N,3,3) and fields of view (N,) in degrees, float64, for the mesh renderer."""
        eye, axes = self.axes()
        view = torch.as_tensor(self.field_of_view, dtype=torch.float64).expand(len(self))
        return eye.cpu().double().numpy(), axes.cpu().double().numpy(), view.cpu().numpy()

    def rays(self, size: int, pixels: PixelStride = EVERY_PIXEL) -> tuple[Tensor, Tensor]:
        """Origins (N,3) and unit directions (N,H,W,3) in world axes; row 0 is the top of the image.

        size: of the image, whose selected pixels are H x W. A coordinate of all directions is contiguous.
        """
        eye, axes = self.axes()
        local = pixels.select(toybox.rays(size, eye.device).movedim(-1, 0))
        view = torch.as_tensor(self.field_of_view, dtype=eye.dtype, device=eye.device).expand(len(self))
        wider = torch.tan(torch.deg2rad(view) / 2) * toybox.focal_length()
        scale = torch.stack([wider, wider, torch.ones_like(wider)], -1)
        rows = (axes * scale[:, None, :]).transpose(0, 1).flatten(0, 1)  # (3N,3)
        directions = (rows @ local.flatten(1)).reshape(3, len(self), *local.shape[1:])
        return eye, normalize(directions, dim=0).movedim(0, -1)


def orbit_cameras(
    azimuths: int | Sequence[float] | Tensor,
    elevation: float = ELEVATION,
    distance: float = DISTANCE,
    field_of_view: float = FIELD_OF_VIEW,
    target: tuple[float, float, float] = TARGET,
) -> Cameras:
    """Cameras at one elevation around a target.

    azimuths: in degrees, or the number of cameras: equal steps from azimuth 0, the front.
    """
    if isinstance(azimuths, int):
        azimuth = torch.arange(azimuths) * (360 / azimuths)
    else:
        azimuth = torch.as_tensor(azimuths, dtype=torch.float32)
    return Cameras(azimuth, torch.full_like(azimuth, elevation), distance, field_of_view, target)


@dataclass(frozen=True)
class CameraDistribution:
    """Distribution of training cameras; ranges are (low, high) and uniform, azimuths are uniform.

    elevation: degrees. Each camera is sampled uniformly in angle or uniformly in area on the sphere (in the
        sine of the angle), with probability 1/2 each.
    distance: world units.
    field_of_view: degrees.
    jitter: largest offset of the target along each axis, in world units. The camera moves with the target,
        so azimuth and elevation stay the same.

    Raises ValueError for a range whose low end exceeds its high end and for elevations beyond 90 degrees.
    """

    elevation: tuple[float, float] = (-10.0, 60.0)
    distance: tuple[float, float] = (DISTANCE, DISTANCE)
    field_of_view: tuple[float, float] = (FIELD_OF_VIEW, FIELD_OF_VIEW)
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("elevation", "distance", "field_of_view"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"the range of {name} is empty: {low} > {high}")
        if not -90 <= self.elevation[0] <= self.elevation[1] <= 90:
            raise ValueError(f"elevation must lie between -90 and 90 degrees, not {self.elevation}")

    def sample(self, count: int, generator: torch.Generator, evenly: bool = False) -> Cameras:
        """Samples `count` cameras on the generator's device; azimuth in [0,360).

        evenly: azimuths are 360 / count degrees apart from one random start; otherwise they are independent.
        """
        device = generator.device

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(shape, generator=generator, device=device)

        if evenly:
            azimuth = uniform(0, 360, 1) + torch.arange(count, device=device) * (360 / count)
        else:
            azimuth = uniform(0, 360, count)
        by_angle = uniform(*self.elevation, count)
        low, high = (math.sin(math.radians(e)) for e in self.elevation)
        by_area = torch.rad2deg(torch.asin(uniform(low, high, count)))
        elevation = torch.where(uniform(0, 1, count) < 0.5, by_angle, by_area)
        distance = uniform(*self.distance, count)
        field_of_view = uniform(*self.field_of_view, count)
        target = torch.tensor(TARGET, device=device) + uniform(-self.jitter, self.jitter, count, 3)
        return Cameras(azimuth % 360, elevation.clamp(*self.elevation), distance, field_of_view, target)


def point_lights(
    cameras: Cameras,
    generator: torch.Generator,
    spread: float = 0.8,
    distance: tuple[float, float] = (0.64, 1.2),
) -> Tensor:
    """Samples positions (N,3) of one point light per camera, mostly on the camera's side of the target.

    Poole et al. 2022, "DreamFusion", appendix A: the direction of the light is that of the camera's position
    plus a standard Gaussian, and its distance is uniform in [0.8, 1.5] for cameras at 1 to 1.5. Here lengths
    are multiples of the camera's own distance, so all three numbers are divided by the mean 1.25.

    spread: standard deviation of the Gaussian; distance: (low, high).
    """
    device = generator.device
    noise = torch.randn((len(cameras), 3), generator=generator, device=device)
    low, high = distance
    radius = low + (high - low) * torch.rand((len(cameras), 1), generator=generator, device=device)
    eye, axes = cameras.axes()
    target = torch.as_tensor(cameras.target, dtype=eye.dtype, device=eye.device)
    to_light = normalize(axes[:, :, 2] + spread * noise.to(eye.device), dim=-1)
    return target + to_light * radius.to(eye.device) * (eye - target).norm(dim=-1, keepdim=True)
