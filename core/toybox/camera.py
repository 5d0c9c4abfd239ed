"""Where the toybox is seen from: orbiting pinhole cameras and the rays of their pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """Pinhole cameras on an orbit about `TARGET`, looking at it; azimuth and elevation in degrees, (N,).

    Azimuth 0 stands on +z, before the figure's face, and grows counter-clockwise seen from above.
    """

    azimuth: Tensor
    elevation: Tensor

    TARGET: ClassVar = (0.0, 1.0, 0.0)
    DISTANCE: ClassVar = 7.0
    FIELD_OF_VIEW: ClassVar = 20.0  # degrees, of the whole picture

    def to(self, device: torch.device | str) -> Camera:
        return Camera(self.azimuth.to(device), self.elevation.to(device))

    def axes(self) -> tuple[Tensor, Tensor]:
        """Eye (N,3) and axes (N,3,3) with the columns right, up, back."""
        az, el = torch.deg2rad(self.azimuth.float()), torch.deg2rad(self.elevation.float())
        zero = torch.zeros_like(az)
        back = torch.stack([az.sin() * el.cos(), el.sin(), az.cos() * el.cos()], -1)
        right = torch.stack([az.cos(), zero, -az.sin()], -1)
        up = torch.linalg.cross(back, right)
        target = torch.tensor(self.TARGET, device=az.device)
        return target + self.DISTANCE * back, torch.stack([right, up, back], -1)


def focal_length() -> float:
    """In half picture widths."""
    return 1.0 / math.tan(math.radians(Camera.FIELD_OF_VIEW) / 2)


def rays(size: int, device: torch.device | str = "cpu") -> Tensor:
    """Directions (size, size, 3) in camera axes with depth component -1, row 0 at the top."""
    at = ((torch.arange(size, device=device) + 0.5) / size * 2 - 1) / focal_length()
    y, x = torch.meshgrid(-at, at, indexing="ij")
    return torch.stack([x, y, -torch.ones_like(x)], -1)
