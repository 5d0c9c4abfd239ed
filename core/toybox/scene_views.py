"""Shots: a scene seen at one moment from one side, as a picture or as the loop that begins there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from core.toybox.camera import Camera
from core.toybox.dataset import FRAMES
from core.toybox.scenes import Scene, render_scenes

PIXELS_AT_ONCE = 16 * 64 * 64


@dataclass(frozen=True)
class SceneView:
    """A scene at a moment of its loop, 0 to 1, from one side, in degrees; `label` is for sheets."""

    scene: Scene
    phase: float = 0.0
    azimuth: float = 15.0
    elevation: float = 12.0
    shadow: bool = True
    label: str = ""


class SceneRenders(NamedTuple):
    """N pictures of `size` pixels square."""

    pixels: np.ndarray  # (N,size,size,3) uint8
    alpha: np.ndarray  # (N,size,size) float32 in [0,1], how much of the pixel the figure and its props cover
    depth: np.ndarray  # (N,size,size) float32 along the optical axis in world units, infinite beside them


def render_scene_views(
    shots: Sequence[SceneView], size: int = 64, device: torch.device | str = "cpu"
) -> SceneRenders:
    """Pictures of any shots, a few at a time, so that large ones fit into memory."""
    chunk = max(1, PIXELS_AT_ONCE // size**2)
    parts = [_some(shots[i : i + chunk], size, device) for i in range(0, len(shots), chunk)]
    return SceneRenders(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def render_clip(shot: SceneView, size: int = 64, device: torch.device | str = "cpu") -> SceneRenders:
    """The 16 pictures of a loop: frame i at the shot's phase + i/16."""
    moments = [(shot.phase + i / FRAMES) % 1.0 for i in range(FRAMES)]
    angles = (shot.azimuth, shot.elevation, shot.shadow)
    return render_scene_views([SceneView(shot.scene, moment, *angles) for moment in moments], size, device)


def _some(shots: Sequence[SceneView], size: int, device: torch.device | str) -> SceneRenders:
    rows = torch.tensor([(shot.phase, shot.azimuth, shot.elevation, shot.shadow) for shot in shots])
    phase, azimuth, elevation, shadow = rows.unbind(1)
    scenes = [shot.scene for shot in shots]
    color, picture = render_scenes(scenes, phase, Camera(azimuth, elevation), shadow > 0, size, device=device)
    pixels = (color * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return SceneRenders(*(part.cpu().numpy() for part in (pixels, picture.alpha[:, 0], picture.depth[:, 0])))
