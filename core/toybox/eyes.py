"""Where the eyes of a scene appear in its images, and whether they are visible: ground truth of faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from core.toybox.camera import Camera, focal_length
from core.toybox.scenes import Scene

FACING = 0.35  # least cosine between the direction of a visible eye and that to the camera
VISIBLE = 0.6  # least share of the points of a visible eye that nothing hides
COVER = 0.7  # radii before an eye from which a surface covers it
# Points of an eye in radii from its middle, in the plane of the image.
POINTS = ((0.0, 0.0), (0.45, 0.0), (-0.45, 0.0), (0.0, 0.45), (0.0, -0.45))


class Eyes(NamedTuple):
    """The eyes in N images: two columns for every head, in a row, that of the figure first; E columns.

    Images with fewer heads have hidden eyes in the last columns.
    """

    position: Tensor  # (N,E,2) in image widths from the left and from the top
    radius: Tensor  # (N,E) in image widths
    visible: Tensor  # (N,E) bool
    doubtful: Tensor  # (N,E) bool, neither visible nor hidden: partly covered, or at the edge of the head

    @classmethod
    def cat(cls, parts: Sequence[Eyes]) -> Eyes:
        """The eyes of several batches, with as many columns as the widest of them."""
        most = max(part.visible.shape[1] for part in parts)
        columns = zip(*parts, strict=True)
        return cls(*(torch.cat([_padded(values, most) for values in column]) for column in columns))

    def rows(self, index: Tensor | slice) -> Eyes:
        """The eyes of some of the images."""
        return Eyes(*(part[index] for part in self))

    @property
    def pair(self) -> Tensor:
        """Whether both eyes of the first head are visible, bool (N,)."""
        if self.visible.shape[1] < 2:
            return torch.zeros(len(self.visible), dtype=torch.bool)
        return self.visible[:, :2].all(1)


def find_eyes(scenes: Sequence[Scene], phase: Tensor, camera: Camera, depth: Tensor) -> Eyes:
    """The eyes in images of scenes with the same number of frames each, as in `render_scenes`.

    phase: (N,); depth: (N,1,H,W) of `render_scenes`. A point of an eye is visible where the render's depth is
    that of the eye, up to a part of its radius. Eyes seen from the side are in doubt.
    """
    moments = phase.cpu().numpy().reshape(len(scenes), -1)
    marked = [scene.build(p).eyes() for scene, p in zip(scenes, moments, strict=True)]
    most = max(radii.shape[1] for _, radii in marked)
    places, radii = (
        torch.cat([_padded(torch.from_numpy(part).float(), most) for part in column])
        for column in zip(*marked, strict=True)
    )
    points, normals = places.split(3, -1)
    position, distance = camera.project(points)
    radius = radii / distance * focal_length() / 2
    spots = position[:, :, None] + radius[..., None, None] * torch.tensor(POINTS)  # (N,E,P,2)
    size = depth.shape[-1]
    column, row = (spots.clamp(0, 1 - 1e-6) * size).long().unbind(-1)
    image = torch.arange(len(depth))[:, None, None]
    behind = depth.cpu()[image, 0, row, column] - distance[..., None]
    inside = ((spots > 0) & (spots < 1)).all(-1) & (radii > 0)[..., None]
    uncovered = inside & (behind > -2 * COVER * radii[..., None])
    seen = inside & (behind > -COVER * radii[..., None]) & (behind < radii[..., None])
    toward = normalize(camera.axes()[0][:, None] - points, dim=-1)
    visible = (seen.float().mean(-1) >= VISIBLE) & ((toward * normals).sum(-1) >= FACING)
    return Eyes(position, radius, visible, uncovered.any(-1) & ~visible)


def _padded(values: Tensor, count: int) -> Tensor:
    """Values (N,E) or (N,E,V) with zeros up to `count` columns."""
    missing = count - values.shape[1]
    return pad(values, (0, missing) if values.ndim == 2 else (0, 0, 0, missing))
