"""Where an object is seen from: orbiting pinhole cameras, the light beside them, and words for views.

Conventions and the canonical camera are the toybox's (`core.toybox.camera`), whose pictures the bundled model
has learned from: azimuth 0 before the face and growing counter-clockwise seen from above, degrees, +y up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from core.toybox import camera as toybox

TARGET = toybox.Camera.TARGET
DISTANCE = toybox.Camera.DISTANCE
FIELD_OF_VIEW = toybox.Camera.FIELD_OF_VIEW


@dataclass(frozen=True)
class Cameras:
    """N cameras that look at a target from an orbit about it.

    azimuth, elevation: (N,) degrees.
    distance: from the target, in world units, a number or (N,).
    field_of_view: of the whole square picture, in degrees, a number or (N,).
    target: where they look, (3,) or (N,3) world.
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
        return len(self.azimuth)

    def to(self, device: torch.device | str) -> Cameras:
        def move(value):
            return value.to(device) if isinstance(value, Tensor) else value

        return Cameras(*map(move, vars(self).values()))

    def __getitem__(self, index: slice | Tensor) -> Cameras:
        """Some of the cameras, by a slice or by a tensor of indices or of bools."""
        count, device = len(self), self.azimuth.device
        distance, view = (
            torch.as_tensor(x, device=device).expand(count)[index]
            for x in (self.distance, self.field_of_view)
        )
        target = torch.as_tensor(self.target, device=device).expand(count, 3)[index]
        return Cameras(self.azimuth[index], self.elevation[index], distance, view, target)

    def axes(self) -> tuple[Tensor, Tensor]:
        """Eyes (N,3) and axes (N,3,3) with the columns right, up, back."""
        _, axes = toybox.Camera(self.azimuth, self.elevation).axes()
        device = axes.device
        distance = torch.as_tensor(self.distance, dtype=axes.dtype, device=device).expand(len(self))
        target = torch.as_tensor(self.target, dtype=axes.dtype, device=device)
        return target + distance[:, None] * axes[:, :, 2], axes

    def rays(self, size: int) -> tuple[Tensor, Tensor]:
        """Origins (N,3) and unit directions (N,size,size,3) in world axes; row 0 is the picture's top."""
        eye, axes = self.axes()
        local = toybox.rays(size, eye.device)
        view = torch.as_tensor(self.field_of_view, dtype=eye.dtype, device=eye.device).expand(len(self))
        wider = torch.tan(torch.deg2rad(view) / 2) * toybox.focal_length()
        scale = torch.stack([wider, wider, torch.ones_like(wider)], -1)
        directions = torch.einsum("nij,hwj->nhwi", axes * scale[:, None, :], local)
        return eye, normalize(directions, dim=-1)


@dataclass(frozen=True)
class Orbit:
    """The distribution that training cameras are drawn from; ranges are (low, high) and uniform.

    elevation: degrees; drawn uniformly in angle half of the time and uniformly in area on the sphere (in the
        sine of the angle) the other half, camera by camera.
    distance: world units. field_of_view: degrees.
    jitter: the target moves by up to this much along each axis, in world units, and the camera with it, so
        that azimuth and elevation stay true of the picture.
    """

    elevation: tuple[float, float] = (-10.0, 60.0)
    distance: tuple[float, float] = (DISTANCE, DISTANCE)
    field_of_view: tuple[float, float] = (FIELD_OF_VIEW, FIELD_OF_VIEW)
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("elevation", "distance", "field_of_view"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"the range of {name} ends before it starts: {low} > {high}")
        if not -90 <= self.elevation[0] <= self.elevation[1] <= 90:
            raise ValueError(f"elevation must lie between -90 and 90 degrees, not {self.elevation}")

    def sample(self, count: int, generator: torch.Generator, evenly: bool = False) -> Cameras:
        """`count` cameras on the generator's device; azimuth in [0,360).

        evenly: azimuths 360 / count degrees apart from one random start, instead of independent ones.
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
    """Positions (N,3) of one point light for each camera, most of them on the camera's side of the target.

    Poole et al. 2022, "DreamFusion", appendix A: the light's direction is that of the camera's position
    plus a standard Gaussian, its distance uniform in [0.8, 1.5], where cameras are 1 to 1.5 away. Lengths are
    multiples of the camera's own distance here, so all three numbers are divided by the mean 1.25.
    """
    device = generator.device
    noise = torch.randn((len(cameras), 3), generator=generator, device=device)
    low, high = distance
    away = low + (high - low) * torch.rand((len(cameras), 1), generator=generator, device=device)
    eye, axes = cameras.axes()
    target = torch.as_tensor(cameras.target, dtype=eye.dtype, device=eye.device)
    to_light = normalize(axes[:, :, 2] + spread * noise.to(eye.device), dim=-1)
    return target + to_light * away.to(eye.device) * (eye - target).norm(dim=-1, keepdim=True)


def view_words(azimuth: Tensor, elevation: Tensor) -> list[str]:
    """What a prompt may say of each view, from azimuth and elevation (N,) in degrees.

    "overhead view" above 60 degrees of elevation (DreamFusion, section 3.2). Below, by the angle between
    azimuth and 0: "front view" up to 45 degrees, "back view" from 135 degrees, else "side view".
    """
    off = ((azimuth + 180) % 360 - 180).abs().tolist()
    return [
        "overhead view"
        if high > 60
        else "front view"
        if a <= 45
        else "back view"
        if a >= 135
        else "side view"
        for a, high in zip(off, elevation.tolist(), strict=True)
    ]
