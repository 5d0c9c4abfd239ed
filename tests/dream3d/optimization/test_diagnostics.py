"""Monitors: what they call trouble, and whether they count faces rightly."""

import dataclasses

import torch

from core.attributes import WIDTH
from core.condition import Condition
from core.diffusion.schedule import NoiseSchedule
from core.toybox.scenes import Scene, index_of
from core.toybox.subjects import SUBJECTS
from dream3d.distill import PixelSpace
from dream3d.nerf.cameras import Cameras
from dream3d.nerf.radiance_fields import VoxelField
from dream3d.nerf.volume_rendering import render
from dream3d.optimization.diagnostics import RenderDiagnostics, count_faces, diagnose, preferred_views
from dream3d.optimization.oracle import scene_denoiser

SCENE = Scene(subject=index_of(SUBJECTS, "fox"), action=0, color=0, backdrop=2)
TEXT = Condition(torch.zeros(1, 1, 4), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, WIDTH))
CAMERAS = Cameras(torch.tensor([10.0, 100.0, 190.0, 280.0]), torch.zeros(4))


def picture(field: VoxelField):
    return render(field, CAMERAS, 16, 32, torch.ones(3))


def filled(raw: float, color: float = 0.0) -> VoxelField:
    field = VoxelField(8, blob=None)
    with torch.no_grad():
        field.grid[:, 0], field.grid[:, 1:] = raw, color
    return field


def test_a_blob_is_healthy() -> None:
    assert diagnose(picture(VoxelField(24))).warnings == []


def test_what_is_wrong_is_said() -> None:
    assert diagnose(picture(filled(-20))).warnings == ["The object has vanished."]
    assert "wall" in diagnose(picture(filled(9))).warnings[0]
    garish = diagnose(picture(filled(9, 20))).warnings
    assert any("saturated" in sentence for sentence in garish)
    assert dataclasses.replace(RenderDiagnostics(0.2, 0.0, 0.1)).warnings == []


def test_true_renders_are_seen_from_their_own_side() -> None:
    denoiser = scene_denoiser(SCENE, NoiseSchedule.cosine(), 0.0, 0.1)
    truth = denoiser.network.render_true(CAMERAS.azimuth, CAMERAS.elevation, 32)
    generator = torch.Generator().manual_seed(0)
    asked = (TEXT, CAMERAS.azimuth, CAMERAS.elevation, generator)
    preferred = preferred_views(denoiser, PixelSpace(), truth, *asked)
    assert preferred.tolist() == [0, 1, 2, 3]
    assert count_faces(preferred, CAMERAS.azimuth) == 1
    janus = truth[[0, 1, 0, 3]]  # a second face in the back
    preferred = preferred_views(denoiser, PixelSpace(), janus, *asked)
    assert preferred.tolist() == [0, 1, 0, 3]
    assert count_faces(preferred, CAMERAS.azimuth) == 2
