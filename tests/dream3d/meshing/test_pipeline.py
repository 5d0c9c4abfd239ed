"""The files of an object, by its options."""

import json
from pathlib import Path

import pytest
import torch
import trimesh
from PIL import Image

from core.errors import UserError
from core.io.presets import load_preset
from dream3d.meshing import pipeline
from dream3d.nerf.cameras import orbit_cameras
from dream3d.nerf.radiance_fields import VoxelField
from dream3d.options import ObjectOptions
from dream3d.record import ObjectRecord
from dream3d.text_to_3d import Object3D


def test_the_files_of_an_object_are_those_of_its_options(smooth_ball, tmp_path: Path) -> None:
    options = load_preset("draft", ObjectOptions, "dream3d").with_changes(turn=2, background="transparent")
    record = ObjectRecord.model_construct(prompt="a ball", seed=0, options=options)
    ball = Object3D(smooth_ball.extraction.mesh, smooth_ball.field, record)
    with pytest.raises(UserError, match="--up z is not for .glb"):
        ball.save(tmp_path / "ball.glb", up="z")
    assert not list(tmp_path.iterdir())
    written = ball.save(tmp_path / "ball.stl", up="y", height=40.0)
    endings = [".stl", ".glb", ".turntable.webp", ".views.png", ".html", ".dream3d.json"]
    assert [path.name for path in written] == [f"ball{ending}" for ending in endings]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    assert trimesh.load(written[0]).extents[1] == pytest.approx(40, abs=1e-4)
    with Image.open(tmp_path / "ball.turntable.webp") as image:
        assert image.convert("RGBA").getpixel((0, 0))[3] == 0 and image.n_frames == 2
    kept = json.loads(written[-1].read_text())
    assert kept["options"]["height"] == 40 and [*kept["files"]] == [path.name for path in written[:-1]]


def test_renders_of_a_field_do_not_depend_on_how_many_are_made_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    field, cameras = VoxelField(12), orbit_cameras(5)
    torch.nn.init.normal_(field.grid[0, 1:].detach())
    by_twos = pipeline.render_field(field, cameras, 8)
    monkeypatch.setattr(pipeline, "AT_ONCE", 5)
    together = pipeline.render_field(field, cameras, 8)
    assert by_twos[0].shape == (5, 3, 8, 8) and by_twos[1].shape == (5, 1, 8, 8)
    assert by_twos[0].std() > 0.01
    for parts, whole in zip(by_twos, together, strict=True):
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)
