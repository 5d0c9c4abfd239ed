"""Fields with shapes and colors in closed form, their meshes, and cameras around them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dream3d.meshing.extract import Extraction, MeshOptions, extract_mesh
from dream3d.nerf.cameras import Cameras, orbit_cameras

CENTER = (0.0, 1.0, 0.0)  # target of the canonical cameras


class Values(NamedTuple):
    """Values of a field at points."""

    density: Tensor
    color: Tensor


class Case(NamedTuple):
    """A field and the mesh extracted from it."""

    field: "Formula"
    extraction: Extraction


class Formula(nn.Module):
    """A field given by functions of points (M,3) relative to `CENTER`, in a box of 2.5 m around it."""

    def __init__(self, density: Callable[[Tensor], Tensor], color: Callable[[Tensor], Tensor]):
        super().__init__()
        self.functions = density, color
        center = torch.tensor(CENTER)
        self.bounds = center - 1.25, center + 1.25

    def forward(self, points: Tensor) -> Values:
        local = points - torch.tensor(CENTER)
        return Values(*(function(local) for function in self.functions))


def ball(points: Tensor) -> Tensor:
    """Density of a ball of radius 0.8 m."""
    return 80 * torch.sigmoid((0.8 - points.norm(dim=-1)) / 0.01)


def smooth_colors(points: Tensor) -> Tensor:
    """Colors that vary slowly with direction and not with depth."""
    return 0.5 + 0.45 * torch.sin(torch.tensor([2.0, 1.5, 1.8]) * nn.functional.normalize(points, dim=-1))


def painted(points: Tensor) -> Tensor:
    """White with a red face on +z, a blue spot on +x and a green crown on +y."""
    direction = nn.functional.normalize(points, dim=-1)
    color = torch.ones_like(points)
    for axis, paint in ((2, (1.0, 0.0, 0.0)), (0, (0.0, 0.0, 1.0)), (1, (0.0, 1.0, 0.0))):
        color[direction[:, axis] > 0.8] = torch.tensor(paint)
    return color


def cameras(count: int) -> Cameras:
    """`count` canonical cameras around the object at elevation 15."""
    return orbit_cameras(count, 15.0)


def impacts(views: Cameras, size: int) -> np.ndarray:
    """Distances (N,size,size) of the rays of the pixels from `CENTER`, in meters."""
    eye, directions = (x.double().numpy() for x in views.rays(size))
    to_center = np.asarray(CENTER) - eye[:, None, None]
    return np.linalg.norm(np.cross(to_center, directions), axis=-1)


def small_mesh(field: Formula) -> Extraction:
    """The extraction of a field at low resolution, with silhouettes of a ball of radius 0.8."""
    views = cameras(3)
    options = MeshOptions(resolution=48, levels=4, faces=3000, texture=512)
    return extract_mesh(field, views, impacts(views, 48) < 0.8, options)


@pytest.fixture(scope="session")
def extract() -> Callable[[Formula], Extraction]:
    return small_mesh


@pytest.fixture(scope="session")
def smooth_ball() -> Case:
    field = Formula(ball, smooth_colors)
    return Case(field, small_mesh(field))


@pytest.fixture(scope="session")
def painted_ball() -> Case:
    field = Formula(ball, painted)
    return Case(field, small_mesh(field))


@pytest.fixture(scope="session")
def field_of() -> type[Formula]:
    return Formula


@pytest.fixture(scope="session")
def ring() -> Callable[[int], Cameras]:
    return cameras


@pytest.fixture(scope="session")
def impact() -> Callable[[Cameras, int], np.ndarray]:
    return impacts
