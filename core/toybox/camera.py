"""Pinhole cameras that orbit the figure, and the rays of their pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

SMALL = 64  # pixels; larger images have supersampled backdrops and finer shadows


class Crop(NamedTuple):
    """A square part of a square image, in pixels."""

    top: int
    left: int
    side: int

    @property
    def rows(self) -> slice:
        """Its rows in the image."""
        return slice(self.top, self.top + self.side)

    @property
    def columns(self) -> slice:
        """Its columns in the image."""
        return slice(self.left, self.left + self.side)

    def scaled(self, factor: int) -> Crop:
        """The same part of an image of `factor` times the size."""
        return Crop(self.top * factor, self.left * factor, self.side * factor)


@dataclass(frozen=True)
class Camera:
    """N pinhole cameras on an orbit about `TARGET`, looking at it; azimuth and elevation in degrees, (N,).

    Azimuth 0 is on +z, in front of the figure's face; azimuth grows counter-clockwise seen from above.
    """

    azimuth: Tensor
    elevation: Tensor

    TARGET: ClassVar = (0.0, 1.0, 0.0)
    DISTANCE: ClassVar = 7.0
    FIELD_OF_VIEW: ClassVar = 20.0  # degrees, across the full image

    def to(self, device: torch.device | str) -> Camera:
        """The cameras on another device."""
        return Camera(self.azimuth.to(device), self.elevation.to(device))

    def axes(self) -> tuple[Tensor, Tensor]:
        """Eye positions (N,3) and camera axes (N,3,3) with the columns right, up and back, in world space."""
        az, el = torch.deg2rad(self.azimuth.float()), torch.deg2rad(self.elevation.float())
        zero = torch.zeros_like(az)
        back = torch.stack([az.sin() * el.cos(), el.sin(), az.cos() * el.cos()], -1)
        right = torch.stack([az.cos(), zero, -az.sin()], -1)
        up = torch.linalg.cross(back, right)
        target = torch.tensor(self.TARGET, device=az.device)
        return target + self.DISTANCE * back, torch.stack([right, up, back], -1)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where points appear in the images: points (N,E,3), world.

        Returns their positions (N,E,2) in image widths from the left and from the top, and their depths (N,E)
        along the optical axis.
        """
        eye, axes = self.axes()
        local = torch.einsum("nij,nei->nej", axes, points - eye[:, None])
        depth = -local[..., 2]
        screen = local[..., :2] / depth[..., None] * focal_length()  # in half widths from the middle, up
        return torch.stack([1 + screen[..., 0], 1 - screen[..., 1]], -1) / 2, depth


def focal_length() -> float:
    """Focal length of the cameras, in half image widths."""
    return 1.0 / math.tan(math.radians(Camera.FIELD_OF_VIEW) / 2)


def rays(size: int, device: torch.device | str = "cpu") -> Tensor:
    """Ray directions (size,size,3) in camera axes through the pixel centers; z is -1, row 0 is the top."""
    centers = ((torch.arange(size, device=device) + 0.5) / size * 2 - 1) / focal_length()
    y, x = torch.meshgrid(-centers, centers, indexing="ij")
    return torch.stack([x, y, -torch.ones_like(x)], -1)
