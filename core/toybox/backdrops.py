"""Backdrops behind the figure, painted in screen space: plain colors and a few places with weather."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from core.toybox.camera import SMALL, Crop
from core.toybox.character import Color, rgb

SUPERSAMPLING = 3  # of images larger than SMALL
HORIZON, FAR_SHORE = 0.56, 0.44  # heights in the image, 0 at the top and 1 at the bottom

# image (N,3,h,w), x and y (h,w) in (0,1), phase (N,) -> the image with the layer painted over it
Layer = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Backdrop:
    """A plain color, or a place with ground, sky and layers painted over them.

    phrases: the endings of a caption; the first one is the name. sky: None for a plain color.
    """

    phrases: tuple[str, ...]
    ground: Color
    sky: Color | None = None
    layers: tuple[Layer, ...] = ()

    @property
    def name(self) -> str:
        """The first phrase."""
        return self.phrases[0]

    @property
    def short_name(self) -> str:
        """The color of a plain backdrop, the name of a place."""
        return self.name.removeprefix("on a ").removesuffix(" background") if self.plain else self.name

    @property
    def plain(self) -> bool:
        """Whether the backdrop is a plain color."""
        return self.sky is None

    def paint(self, phase: Tensor, size: int = 64, crop: Crop | None = None) -> Tensor:
        """Images (N,3,size,size) in [0,1] at the moments `phase` (N,) of the loop, or the crop of them.

        Places larger than `SMALL` pixels average `SUPERSAMPLING`**2 points per pixel.
        """
        crop = crop or Crop(0, 0, size)
        if self.plain or size <= SMALL:
            return self._paint(phase, size, crop)
        fine = self._paint(phase, size * SUPERSAMPLING, crop.scaled(SUPERSAMPLING))
        return avg_pool2d(fine, SUPERSAMPLING)

    def _paint(self, phase: Tensor, size: int, crop: Crop) -> Tensor:
        """The crop, (N,3,side,side), with the color at the center of each pixel."""
        device = phase.device
        centers = (torch.arange(size, device=device) + 0.5) / size
        y, x = torch.meshgrid(centers[crop.rows], centers[crop.columns], indexing="ij")
        ground = _tint(self.ground, device)
        if self.sky is None:
            return (ground * (1.04 - 0.1 * y)).clamp(0, 1).expand(len(phase), 3, -1, -1)
        sky = _tint(self.sky, device) * (0.9 + 0.2 * y)
        picture = torch.where(y > HORIZON, ground * (1.08 - 0.16 * y), sky)
        picture = picture.expand(len(phase), 3, -1, -1)
        for layer in self.layers:
            picture = layer(picture, x, y, phase)
        return picture.clamp(0, 1)


def _tint(color: Color, device: torch.device) -> Tensor:
    return torch.tensor(color, device=device)[:, None, None]


def _sea(code: str) -> Layer:
    def layer(picture: Tensor, x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
        water = _tint(rgb(code), phase.device) * (0.7 + 0.6 * y)
        return torch.where((y > FAR_SHORE) & (y <= HORIZON), water, picture)

    return layer


def _sun(picture: Tensor, x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    distance = ((x - 0.8) ** 2 + (y - 0.42) ** 2).sqrt()
    return torch.where((distance < 0.11) & (y < FAR_SHORE), _tint(rgb("fff0a8"), phase.device), picture)


def _stars(picture: Tensor, x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    """Stars, at most one per cell of a 9x9 grid."""
    u, v = x * 9, y * 9
    chance = torch.sin(torch.floor(u) * 12.9898 + torch.floor(v) * 78.233) * 43758.5453 % 1.0
    disc = (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.035
    return torch.where(disc & (chance > 0.6) & (y < HORIZON - 0.04), 0.95, picture)


def _falling(columns: int, length: float, speed: int, code: str) -> Layer:
    """Streaks in columns with individual start heights, falling `speed` thirds of the image per loop."""

    def layer(picture: Tensor, x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
        u = x * columns
        start = torch.sin(torch.floor(u) * 12.9898) * 43758.5453 % 1.0
        fall = (3 * y - speed * phase[:, None, None] + start) % 1.0
        inside = (fall < length) & ((u % 1 - 0.5).abs() < 0.22)
        return torch.where(inside[:, None], 0.2 * picture + 0.8 * _tint(rgb(code), phase.device), picture)

    return layer


_RAIN, _SNOW = _falling(13, 0.34, 2, "dfeaf6"), _falling(9, 0.13, 1, "ffffff")


def _plain(name: str, code: str) -> Backdrop:
    ground = f"{name} background"
    return Backdrop((f"on a {ground}", f"against a {ground}", f"with a {ground}"), rgb(code))


# A backdrop's index is its label in prepared shards, so new ones are appended; the colors below are alike.
BACKDROPS: tuple[Backdrop, ...] = (
    _plain("white", "f4f4f2"),
    _plain("gray", "b9bcc2"),
    _plain("light blue", "a6d2f4"),
    _plain("pink", "f7bfcb"),
    _plain("green", "aee0b2"),
    _plain("yellow", "f8e7a0"),
    _plain("purple", "cdb8f0"),
    _plain("orange", "fbcb98"),
    Backdrop(
        ("on a beach", "at the beach", "on the sand by the sea"),
        rgb("ecd9a4"),
        rgb("a9dcf5"),
        (_sea("3f8fc4"),),
    ),
    Backdrop(
        ("on a beach at sunset", "at the beach at sunset", "on a sunset beach"),
        rgb("c99a78"),
        rgb("f59a62"),
        (_sea("7a5a8c"), _sun),
    ),
    Backdrop(("in the snow", "on a snowy day", "in falling snow"), rgb("eef3f8"), rgb("9db6cf"), (_SNOW,)),
    Backdrop(("on the grass", "in a park", "in a meadow"), rgb("86c25a"), rgb("b5e1f7")),
    Backdrop(("at night", "under the stars", "in the night"), rgb("3d4a5f"), rgb("1a2146"), (_stars,)),
    Backdrop(("in the rain", "in heavy rain", "on a rainy day"), rgb("7d8894"), rgb("96a3b2"), (_RAIN,)),
)

PROP_COLORS: dict[str, Color] = {
    "red": rgb("e02b2b"),
    "orange": rgb("f58a1f"),
    "yellow": rgb("f5cf2a"),
    "green": rgb("2f9e44"),
    "blue": rgb("2563d8"),
    "purple": rgb("8a3fd1"),
    "pink": rgb("f072a8"),
    "white": rgb("f5f5f2"),
    "black": rgb("232227"),
}
