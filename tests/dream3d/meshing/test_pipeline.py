"""The files of an object, by its options."""

from pathlib import Path

import pytest
from PIL import Image

from core.io.files.saving import save_output
from core.io.presets import load_preset
from dream3d.job import ObjectJob
from dream3d.meshing.pipeline import write_object_files
from dream3d.options import ObjectOptions


@pytest.mark.parametrize(("background", "turntable"), [("transparent", ".webp"), ("#0000ff", ".mp4")])
def test_the_background_is_that_of_the_turntable(
    smooth_ball, tmp_path: Path, background: str, turntable: str
) -> None:
    options = load_preset("draft", ObjectOptions, "dream3d").with_changes(
        turn=2, background=background, height=40.0, faces=500
    )
    job = ObjectJob("a ball", 0, tmp_path / "ball.stl")
    job.check_files(options)
    with save_output(job.files, overwrite=False) as drafts:
        written = write_object_files(job._replace(mesh=drafts.output), smooth_ball.extraction.mesh, options)
    endings = [".stl", ".glb", f".turntable{turntable}", ".views.png", ".html"]
    assert [path.name for path in written] == [f"ball{ending}" for ending in endings]
    assert sorted(path.name for path in job.files.there) == sorted(path.name for path in written)
    if turntable == ".webp":
        with Image.open(job.turntable(transparent=True)) as image:
            assert image.convert("RGBA").getpixel((0, 0))[3] == 0 and image.n_frames == 2
