"""Surface extraction against closed forms: volumes, areas, pieces, and the iso level of a Gaussian cloud."""

import math

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from core.errors import UserError
from dream3d.meshing.decimate import decimate, without_pinches
from dream3d.meshing.extract import MeshOptions, extract_mesh
from dream3d.meshing.iso_level import candidate_levels, choose_level, faintest_level
from dream3d.meshing.rasterizer import mask_iou
from dream3d.meshing.surface import DensityGrid, iso_surface, keep_large_pieces, sample_density, smooth


def ball(radius: float, *center: float):
    """Density 80 inside and 40 at the radius."""
    at = torch.tensor(center or (0.0, 0.0, 0.0))
    return lambda points: 80 * torch.sigmoid((radius - (points - at).norm(dim=-1)) / 0.02)


def gray(points: Tensor) -> Tensor:
    return torch.full_like(points, 0.5)


def test_a_ball_has_its_volume_and_area_at_every_step(field_of) -> None:
    radius = 0.8
    volume, area = 4 / 3 * math.pi * radius**3, 4 * math.pi * radius**2
    grid = sample_density(field_of(ball(radius), gray), 40, 64)
    raw = iso_surface(grid, 40)
    assert np.linalg.norm(raw.vertices - [0, 1, 0], axis=1) == pytest.approx(radius, abs=0.2 * grid.spacing)
    smoothed = smooth(raw, 10)
    few = decimate(smoothed, 2000)
    assert len(few.faces) <= 2000 < len(raw.faces)
    for surface, tolerance in ((raw, 0.005), (smoothed, 0.005), (few, 0.01)):
        assert surface.is_watertight and surface.body_count == 1
        assert surface.volume == pytest.approx(volume, rel=tolerance)  # positive: the winding is outward
        assert surface.area == pytest.approx(area, rel=tolerance)


def test_the_grid_is_tight_and_its_cells_are_cubes(field_of) -> None:
    grid = sample_density(field_of(ball(0.3, 0.4, -0.2, 0.1), gray), 40, 50)
    assert max(grid.values.shape) == 50
    high = grid.low + grid.spacing * (np.array(grid.values.shape) - 1)
    assert (grid.low < np.array([0.1, 0.5, -0.2])).all() and (grid.low > np.array([0.0, 0.4, -0.3])).all()
    assert (high > np.array([0.7, 1.1, 0.4])).all() and (high < np.array([0.8, 1.2, 0.5])).all()


def test_small_pieces_are_removed_and_hollows_filled(field_of) -> None:
    large, middle, small, hollow = ball(0.6), ball(0.25, 0.9, 0, 0), ball(0.1, -0.9, 0, 0), ball(0.3)

    def density(points: Tensor) -> Tensor:
        return (large(points) - hollow(points)).clamp(min=0) + middle(points) + small(points)

    surface = iso_surface(sample_density(field_of(density, gray), 40, 64), 40)
    assert surface.body_count == 4
    for share, radii in ((0, (0.6, 0.25, 0.1)), (0.02, (0.6, 0.25)), (0.5, (0.6,))):
        remaining = keep_large_pieces(surface, share)
        assert remaining.is_watertight and remaining.body_count == len(radii)
        assert remaining.volume == pytest.approx(4 / 3 * math.pi * sum(r**3 for r in radii), rel=0.02)


def test_a_surface_that_fills_the_box_is_closed(field_of) -> None:
    surface = iso_surface(sample_density(field_of(lambda p: torch.full_like(p[:, 0], 5.0), gray), 2, 24), 2)
    assert surface.is_watertight
    assert surface.volume == pytest.approx(2.5**3, rel=0.15)  # half a cell more on every side


def bumps(strength: float):
    """A ball with smooth noise: rough at strength 0.1, a tangle of tunnels and threads at 1."""
    noise = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))

    def density(points: Tensor) -> Tensor:
        at = (points / 1.25)[None, None, None]
        bump = torch.nn.functional.grid_sample(noise, at, align_corners=True).flatten()
        return 80 * torch.sigmoid((0.9 - points.norm(dim=-1) + strength * bump) / 0.02)

    return density


def test_decimation_keeps_surfaces_with_thin_necks_closed(field_of) -> None:
    raw = iso_surface(sample_density(field_of(bumps(0.1), gray), 40, 64), 40)
    assert raw.is_watertight and len(raw.faces) > 12_000
    for faces in (8000, 2000):
        few = decimate(raw, faces)
        assert len(few.faces) <= faces and few.is_watertight and few.is_winding_consistent


def test_a_tangle_gives_a_closed_mesh_within_the_face_limit(field_of, ring) -> None:
    options = MeshOptions(resolution=64, levels=1, faces=6000, texture=64)
    mesh = extract_mesh(field_of(bumps(1.0), gray), ring(1), np.ones((1, 8, 8), bool), options).mesh
    assert mesh.surface().is_watertight and mesh.surface().is_winding_consistent
    assert 3000 < len(mesh.faces) <= 6000


def test_non_manifold_and_open_edges_are_closed() -> None:
    """Two boxes that share an edge, and a box without a lid."""
    box = trimesh.creation.box((1, 1, 1))
    neighbor = box.copy().apply_translation([1, 1, 0])
    touching = trimesh.util.concatenate([box, neighbor])
    assert isinstance(touching, trimesh.Trimesh)
    touching.merge_vertices()
    open_box = trimesh.Trimesh(box.vertices, box.faces[2:], process=False)
    for torn in (touching, open_box):
        assert not torn.is_watertight
        closed = without_pinches(torn)
        assert closed.is_watertight and closed.is_winding_consistent and closed.volume > 0
    assert without_pinches(box) is box


def test_an_empty_field_raises(field_of) -> None:
    empty = field_of(lambda points: torch.zeros_like(points[:, 0]), gray)
    with pytest.raises(UserError, match="no object"):
        sample_density(empty, 0.1, 32)
    thin = DensityGrid(np.full((8, 8, 8), 0.2, np.float32), np.zeros(3), 0.1)
    with pytest.raises(UserError, match="no object"):
        iso_surface(thin, 0.3)
    with pytest.raises(UserError, match="no object"):
        candidate_levels(thin, 0.3, 8)


def test_the_iso_level_matches_the_silhouettes_of_a_cloud(field_of, ring, impact) -> None:
    """D exp(-(r/s)^2) integrates to D s sqrt(pi) exp(-(b/s)^2) along a ray at distance b from the center."""
    peak, scale = 40.0, 0.4
    views = ring(3)
    optical_depth = peak * scale * math.sqrt(math.pi) * np.exp(-((impact(views, 64) / scale) ** 2))
    opacity = 1 / 3  # of what is just covered
    covered = scale * math.sqrt(math.log(peak * scale * math.sqrt(math.pi) / -math.log(1 - opacity)))

    field = field_of(lambda points: peak * torch.exp(-(points / scale).square().sum(-1)), gray)
    faintest = faintest_level(2.5)
    grid = sample_density(field, faintest, 64)
    levels = candidate_levels(grid, faintest, 8)
    radii = scale * np.sqrt(np.log(peak / levels))
    assert radii[0] > 1.05 * covered and radii[-1] < 0.7 * covered
    chosen = choose_level(grid, levels, 0.02, views, 1 - np.exp(-optical_depth) > opacity)
    best = np.abs(radii - covered).argmin()
    assert chosen.density == levels[best]
    assert chosen.iou > 0.9


def test_mask_iou() -> None:
    first, second = np.array([True, True, False, False]), np.array([False, True, True, False])
    assert mask_iou(first, second) == pytest.approx(1 / 3)
    assert mask_iou(first, first) == 1
    assert mask_iou(first & ~first, second & ~second) == 1
