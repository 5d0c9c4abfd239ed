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
from dream3d.optimization.diagnostics import Health, faces, health, preferred_views
from dream3d.optimization.oracle import oracle

SCENE = Scene(subject=index_of(SUBJECTS, "fox"), action=0, colour=0, backdrop=2)
TEXT = Condition(torch.zeros(1, 1, 4), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, WIDTH))
CAMERAS = Cameras(torch.tensor([10.0, 100.0, 190.0, 280.0]), torch.zeros(4))


def picture(field: VoxelField):
    return render(field, CAMERAS, 16, 32, torch.ones(3))


def filled(raw: float, colour: float = 0.0) -> VoxelField:
    field = VoxelField(8, blob=None)
    with torch.no_grad():
        field.grid[:, 0], field.grid[:, 1:] = raw, colour
    return field


def test_a_blob_is_healthy() -> None:
    assert health(picture(VoxelField(24))).trouble == []


def test_what_is_wrong_is_said() -> None:
    assert health(picture(filled(-20))).trouble == ["The object has vanished."]
    assert "wall" in health(picture(filled(9))).trouble[0]
    garish = health(picture(filled(9, 20))).trouble
    assert any("saturated" in sentence for sentence in garish)
    assert dataclasses.replace(Health(0.2, 0.0, 0.1)).trouble == []


def test_true_renders_are_seen_from_their_own_side() -> None:
    denoiser = oracle(SCENE, NoiseSchedule.cosine(), 0.0, 0.1)
    truth = denoiser.network.truth(CAMERAS.azimuth, CAMERAS.elevation, 32)
    generator = torch.Generator().manual_seed(0)
    asked = (TEXT, CAMERAS.azimuth, CAMERAS.elevation, generator)
    preferred = preferred_views(denoiser, PixelSpace(), truth, *asked)
    assert preferred.tolist() == [0, 1, 2, 3]
    assert faces(preferred, CAMERAS.azimuth) == 1
    janus = truth[[0, 1, 0, 3]]  # a second face in the back
    preferred = preferred_views(denoiser, PixelSpace(), janus, *asked)
    assert preferred.tolist() == [0, 1, 0, 3]
    assert faces(preferred, CAMERAS.azimuth) == 2
