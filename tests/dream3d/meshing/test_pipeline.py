"""The files of an object, by its options."""

import json
from pathlib import Path

import pytest
import trimesh
from PIL import Image

from core.errors import UserError
from core.io.presets import load_preset
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
