"""`dreamlift bench dream3d`: the ways of rendering agree with our renderer, and toy sizes of its rows."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dream3d.nerf.cameras import EVERY_PIXEL, orbit_cameras
from dream3d.nerf.radiance_fields import VoxelField
from dream3d.nerf.scene_field import SceneField
from dream3d.nerf.volume_rendering import make_rays, render
from dream3d.optimization.optimize import Optimization
from dreamlift.bench.peers.marching import BoxRays, march_dense, march_with_importance, sample_by_weight
from dreamlift.bench.plan import Settings
from dreamlift.bench.suites import dream3d

CPU = torch.device("cpu")
GRAY = torch.tensor([0.2, 0.4, 0.6])


def rendered(field: VoxelField, samples: int) -> tuple[torch.Tensor, BoxRays]:
    """Colors (R,3) of our renderer, without skipping, and its rays."""
    cameras = orbit_cameras(3, elevation=20.0)
    rays = make_rays(cameras, 12, EVERY_PIXEL, torch.float32)
    with torch.no_grad():
        color = render(field, cameras, 12, samples, GRAY, early_stop=0).color
    return color.permute(0, 2, 3, 1).reshape(-1, 3), BoxRays.through(field, rays.origins, rays.directions)


def test_dense_marching_has_the_colors_of_our_renderer_and_its_gradient() -> None:
    field = VoxelField(8)
    ours, rays = rendered(field, 20)
    dense = march_dense(field, rays, 20, GRAY)
    assert (dense - ours).abs().max() < 1e-5
    dense.square().sum().backward()
    expected = field.grid.grad
    field.grid.grad = None
    color = render(field, orbit_cameras(3, elevation=20.0), 12, 20, GRAY, early_stop=0).color
    color.square().sum().backward()
    assert expected is not None and field.grid.grad is not None
    assert (expected - field.grid.grad).abs().max() < 1e-4 * expected.abs().max()


def test_marching_by_importance_approaches_our_colors_with_its_samples() -> None:
    field = dream3d.scene_voxels(16)
    ours, rays = rendered(field, 400)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        few, many = (
            march_with_importance(field, rays, GRAY, source, *count) for count in ((16, 8), (200, 100))
        )
    errors = [(color - ours).abs().mean() for color in (few, many)]
    assert errors[1] < 0.003 and errors[1] < errors[0] / 4


def test_further_samples_follow_the_weights() -> None:
    """Three of four parts of the weight lie between 2.5 and 3.5, the fourth between 5.5 and 6.5."""
    t = torch.arange(10.0)[None]
    weights = torch.zeros(1, 10)
    weights[0, 3], weights[0, 6] = 0.75, 0.25
    samples = sample_by_weight(t, weights, 4000, torch.Generator().manual_seed(0))[0]
    near, far = ((samples > low) & (samples < low + 1) for low in (2.5, 5.5))
    assert near.float().mean() == pytest.approx(0.75, abs=0.03)
    assert far.float().mean() == pytest.approx(0.25, abs=0.03)
    assert samples[near].mean() == pytest.approx(3, abs=0.05)


def test_voxels_of_a_scene_have_its_density_and_color_at_the_vertices() -> None:
    field, scene = dream3d.scene_voxels(12), SceneField(dream3d.SCENE)
    low, high = field.bounds
    vertex = low + (high - low) * torch.tensor([[5.0, 4.0, 6.0], [0.0, 0.0, 0.0], [6.0, 5.0, 5.0]]) / 11
    ours, truth = field(vertex), scene(vertex)
    assert torch.allclose(ours.density, truth.density, atol=0.05, rtol=1e-3)
    assert torch.allclose(ours.color, truth.color, atol=2e-3)
    assert truth.density.max() > 100 > truth.density.min()


def test_rows_compare_the_same_rendering_and_grow_with_rays(tmp_path: Path) -> None:
    settings = Settings(CPU, tmp_path, repeats=2, quick=True)
    with_gradient, _, by_rays, by_samples, _ = dream3d.rows()
    measured = with_gradient.measure(settings)
    assert [*measured.sides] == ["ours", dream3d.DENSE, dream3d.IMPORTANCE]
    assert measured.work[dream3d.IMPORTANCE].gbytes > measured.work[dream3d.DENSE].gbytes
    assert [*with_gradient.measure(settings._replace(peers=False)).sides] == ["ours"]
    assert [point.value for point in by_rays.measure(settings).points] == [64, 256]
    assert [point.value for point in by_samples.measure(settings).points] == [8, 16]


def test_parts_of_an_object_add_up_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meshing and writing, which take as long for a trial, are replaced: they take 5 and 7 s of the clock."""
    added = [0.0]

    def finish(optimization: Optimization, *_: object, **__: object) -> SimpleNamespace:
        assert optimization.iteration == 2
        added[0] += 5

        def write(job: object) -> None:
            added[0] += 7

        return SimpleNamespace(write_files=write)

    clock = dream3d.busy_time
    monkeypatch.setattr(dream3d, "finish_object", finish)
    monkeypatch.setattr(dream3d, "busy_time", lambda device: clock(device) + added[0])
    parts = dream3d.rows()[-1].measure(Settings(CPU, tmp_path, repeats=1, quick=True)).parts
    assert parts["mesh"].seconds[0] == pytest.approx(5, abs=0.5)
    assert parts["pictures and files"].seconds[0] == pytest.approx(7, abs=0.5)
    assert all(parts[name].seconds[0] > 0 for name in ("text", "network", "rendering", dream3d.REST))
