"""Diagnostics against counted pixels and closed forms, and on true renders with a second face."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.attributes import WIDTH, decode_camera
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.toybox.scenes import Scene, index_of
from core.toybox.subjects import SUBJECTS
from dream3d.distill import PixelSpace
from dream3d.nerf.cameras import Cameras
from dream3d.nerf.radiance_fields import VoxelField
from dream3d.nerf.volume_rendering import RenderedViews, render
from dream3d.optimization.diagnostics import RenderDiagnostics, count_faces, diagnose, preferred_views
from dream3d.optimization.oracle import scene_denoiser

SCENE = Scene(subject=index_of(SUBJECTS, "fox"), action=0, color=0, backdrop=2)
TEXT = Condition(torch.zeros(1, 1, 4), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, WIDTH))
CAMERAS = Cameras(torch.tensor([10.0, 100.0, 190.0, 280.0]), torch.zeros(4))
VANISHED = "The object has vanished."
WALL = "The object has become a wall that fills the image."
SATURATED = "The colors are saturated: try a smaller --guidance."


def rendered(field: VoxelField) -> RenderedViews:
    return render(field, CAMERAS, 16, 32, torch.ones(3))


def uniform_field(raw: float, color: float = 0.0) -> VoxelField:
    field = VoxelField(8, blob=None)
    with torch.no_grad():
        field.grid[:, 0], field.grid[:, 1:] = raw, color
    return field


def test_the_statistics_are_those_of_counted_pixels() -> None:
    opacity, color = torch.zeros(2, 1, 10, 10), torch.full((2, 3, 10, 10), 0.5)
    opacity[0, 0, 0, 2:8] = 1.0  # 6 pixels of one edge
    opacity[1, 0, 4:6, 4:6] = 0.6  # 4 pixels in the middle
    opacity[1, 0, 9, 5] = 0.5  # an edge pixel that does not count as solid
    color[0, 1, 0, 2:4] = 0.981  # 2 solid pixels with a channel near 1
    color[1, 2, 4, 4] = 0.019  # and one with a channel near 0
    color[1, 0, 5, 5] = 0.021  # not near enough
    color[1, :, 9, 5] = 0.0  # not solid
    color[0, :, 5] = 1.0  # nor the background
    samples = rendered(uniform_field(0.0)).samples
    statistics = diagnose(RenderedViews(color, opacity, torch.zeros_like(opacity), None, samples))
    assert statistics.coverage == pytest.approx((6 + 4 * 0.6 + 0.5) / 200)
    assert statistics.border == pytest.approx((6 + 0.5) / (2 * 40))
    assert statistics.clipped == pytest.approx(3 / 10)


def test_a_uniform_field_has_the_opacity_of_beer_and_lambert() -> None:
    """Opacity 1 - exp(-density L); the chord L through the box is recomputed by the slab method."""
    density = 25 * np.log1p(np.exp(-5.0))
    eye, directions = (x.double().numpy() for x in CAMERAS.rays(16))
    low, high = np.array([-1.25, -0.25, -1.25]), np.array([1.25, 2.25, 1.25])
    to_low, to_high = ((corner - eye[:, None, None]) / directions for corner in (low, high))
    chord = np.maximum(to_low, to_high).min(-1) - np.minimum(to_low, to_high).max(-1)
    opacity = 1 - np.exp(-density * chord.clip(0))
    statistics = diagnose(rendered(uniform_field(-5.0)))
    assert statistics.coverage == pytest.approx(opacity.mean(), abs=1e-3)
    edges = [opacity[:, 0], opacity[:, -1], opacity[:, :, 0], opacity[:, :, -1]]
    assert statistics.border == pytest.approx(np.mean(edges), abs=1e-3)


@pytest.mark.parametrize(
    ("coverage", "border", "clipped", "expected"),
    [
        (0.2, 0.0, 0.1, []),
        (0.011, 0.49, 0.49, []),
        (0.009, 0.0, 0.0, [VANISHED]),
        (0.74, 0.5, 0.5, []),
        (0.76, 0.0, 0.0, [WALL]),
        (0.2, 0.51, 0.0, [WALL]),
        (0.2, 0.0, 0.51, [SATURATED]),
        (0.9, 0.9, 0.9, [WALL, SATURATED]),
    ],
)
def test_each_warning_has_its_threshold(
    coverage: float, border: float, clipped: float, expected: list[str]
) -> None:
    assert RenderDiagnostics(coverage, border, clipped).warnings == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (VoxelField(24), []),
        (uniform_field(-20), [VANISHED]),
        (uniform_field(9), [WALL]),
        (uniform_field(9, 20), [WALL, SATURATED]),
    ],
    ids=["blob", "empty", "gray wall", "white wall"],
)
def test_warnings_of_rendered_fields(field: VoxelField, expected: list[str]) -> None:
    assert diagnose(rendered(field)).warnings == expected


class CosineOfAzimuth(nn.Module):
    """Predicts the constant image cos(azimuth) whatever the noised image is."""

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        azimuth, _ = decode_camera(condition.attributes)
        return torch.deg2rad(azimuth).cos()[:, None, None, None].expand_as(x)


def test_the_preferred_view_is_the_one_with_the_nearest_prediction() -> None:
    """eps^ - eps = alpha / sigma (x - x0^), so the error does not depend on the noise."""
    denoiser = Denoiser(CosineOfAzimuth(), NoiseSchedule.cosine(), Parameterization.X0)
    azimuth, levels = torch.tensor([0.0, 60.0, 120.0, 180.0]), torch.tensor([-0.9, 0.4, 0.95, -0.1])
    renders = levels[:, None, None, None].expand(4, 3, 8, 8)
    generator = torch.Generator().manual_seed(0)
    preferred = preferred_views(denoiser, PixelSpace(), renders, TEXT, azimuth, torch.zeros(4), generator)
    distances = np.abs(levels.numpy()[:, None] - np.cos(np.deg2rad(azimuth.numpy())))
    assert preferred.tolist() == distances.argmin(1).tolist() == [3, 1, 0, 2]


def test_true_renders_prefer_their_own_camera_and_a_second_face_the_front() -> None:
    denoiser = scene_denoiser(SCENE, NoiseSchedule.cosine(), 0.0, 0.1)
    truth = denoiser.network.render_true(CAMERAS.azimuth, CAMERAS.elevation, 32)
    janus = truth[[0, 1, 0, 3]]  # a second face in the back
    for renders, expected, faces in ((truth, [0, 1, 2, 3], 1), (janus, [0, 1, 0, 3], 2)):
        generator = torch.Generator().manual_seed(0)
        views = (TEXT, CAMERAS.azimuth, CAMERAS.elevation, generator)
        preferred = preferred_views(denoiser, PixelSpace(), renders, *views)
        assert preferred.tolist() == expected
        assert count_faces(preferred, CAMERAS.azimuth) == faces


@pytest.mark.parametrize(
    ("azimuths", "front"), [([0, 90, 180, 270], 0), ([100, 190, 280, 350], 3), ([-100, -10, 80, 170], 1)]
)
def test_faces_are_counted_at_the_camera_nearest_to_the_front(azimuths: list[int], front: int) -> None:
    preferred = torch.tensor([front, front, (front + 1) % 4, front])
    azimuth = torch.tensor(azimuths, dtype=torch.float32)
    assert count_faces(preferred, azimuth) == 3
    assert count_faces((preferred + 2) % 4, azimuth) == 0
