"""Shots: a scene seen at one moment from one side, as a picture or as the loop that begins there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from core.toybox.camera import Camera
from core.toybox.dataset import FRAMES
from core.toybox.scenes import Scene, paint

PIXELS_AT_ONCE = 16 * 64 * 64


@dataclass(frozen=True)
class Shot:
    """A scene at a moment of its loop, 0 to 1, from one side, in degrees; `label` is for sheets."""

    scene: Scene
    phase: float = 0.0
    azimuth: float = 15.0
    elevation: float = 12.0
    shadow: bool = True
    label: str = ""


class Photographs(NamedTuple):
    """N pictures of `size` pixels square."""

    pixels: np.ndarray  # (N,size,size,3) uint8
    alpha: np.ndarray  # (N,size,size) float32 in [0,1], how much of the pixel the figure and its props cover
    depth: np.ndarray  # (N,size,size) float32 along the optical axis in world units, infinite beside them


def photograph(shots: Sequence[Shot], size: int = 64, device: torch.device | str = "cpu") -> Photographs:
    """Pictures of any shots, a few at a time, so that large ones fit into memory."""
    chunk = max(1, PIXELS_AT_ONCE // size**2)
    parts = [_some(shots[i : i + chunk], size, device) for i in range(0, len(shots), chunk)]
    return Photographs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def film(shot: Shot, size: int = 64, device: torch.device | str = "cpu") -> Photographs:
    """The 16 pictures of a loop: frame i at the shot's phase + i/16."""
    moments = [(shot.phase + i / FRAMES) % 1.0 for i in range(FRAMES)]
    angles = (shot.azimuth, shot.elevation, shot.shadow)
    return photograph([Shot(shot.scene, moment, *angles) for moment in moments], size, device)


def _some(shots: Sequence[Shot], size: int, device: torch.device | str) -> Photographs:
    rows = torch.tensor([(shot.phase, shot.azimuth, shot.elevation, shot.shadow) for shot in shots])
    phase, azimuth, elevation, shadow = rows.unbind(1)
    scenes = [shot.scene for shot in shots]
    colour, picture = paint(scenes, phase, Camera(azimuth, elevation), shadow > 0, size, device=device)
    pixels = (colour * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return Photographs(*(part.cpu().numpy() for part in (pixels, picture.alpha[:, 0], picture.depth[:, 0])))
