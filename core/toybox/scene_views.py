"""Views of scenes: a scene at one moment from one camera, rendered as an image or as a looping clip."""

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
    """A scene at the moment `phase` in [0, 1) of its loop, from one camera.

    azimuth, elevation: degrees. label: its title on a sheet.
    """

    scene: Scene
    phase: float = 0.0
    azimuth: float = 15.0
    elevation: float = 12.0
    shadow: bool = True
    label: str = ""


class SceneRenders(NamedTuple):
    """N square images of `size` pixels."""

    pixels: np.ndarray  # (N,size,size,3) uint8
    alpha: np.ndarray  # (N,size,size) float32 in [0,1], coverage of the pixel by the figure and its props
    depth: np.ndarray  # (N,size,size) float32 along the optical axis in world units, infinite elsewhere


def render_scene_views(
    views: Sequence[SceneView], size: int = 64, device: torch.device | str = "cpu"
) -> SceneRenders:
    """Images of the views, rendered in chunks so that large images fit into memory."""
    chunk = max(1, PIXELS_AT_ONCE // size**2)
    parts = [_render_chunk(views[i : i + chunk], size, device) for i in range(0, len(views), chunk)]
    return SceneRenders(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def render_clip(view: SceneView, size: int = 64, device: torch.device | str = "cpu") -> SceneRenders:
    """The 16 frames of a loop: frame i is at the view's phase + i/16."""
    moments = [(view.phase + i / FRAMES) % 1.0 for i in range(FRAMES)]
    camera = (view.azimuth, view.elevation, view.shadow)
    return render_scene_views([SceneView(view.scene, moment, *camera) for moment in moments], size, device)


def _render_chunk(views: Sequence[SceneView], size: int, device: torch.device | str) -> SceneRenders:
    rows = torch.tensor([(view.phase, view.azimuth, view.elevation, view.shadow) for view in views])
    phase, azimuth, elevation, shadow = rows.unbind(1)
    scenes = [view.scene for view in views]
    color, picture = render_scenes(scenes, phase, Camera(azimuth, elevation), shadow > 0, size, device=device)
    pixels = (color * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return SceneRenders(*(part.cpu().numpy() for part in (pixels, picture.alpha[:, 0], picture.depth[:, 0])))
