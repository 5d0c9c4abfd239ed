"""The Python API: the same bytes as the commands, diffusers' argument names, results that show themselves."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
import yaml
from PIL import Image

from core.errors import UserError
from core.toybox.scene_views import SceneView, render_scene_views
from core.toybox.scenes import named_scene
from dreamlift import TextTo3D, TextToImage, TextToVideo
from dreamlift.front_door import resolve_seed
from tests.conftest import ROOT, Command

TINY_OBJECT = {
    "iterations": 6,
    "learning_rate": 0.15,
    "texture": 64,
    "faces": 2000,
    "turn": 4,
    "stages": [{"share": 1, "size": 16, "samples": 16, "grid": 16, "guidance": 2.0}],
}


@pytest.fixture(scope="module")
def videos() -> TextToVideo:
    return TextToVideo.from_pretrained("bundled", preset="draft", device="cpu")


@pytest.mark.usefixtures("one_thread")
def test_a_clip_has_the_bytes_of_the_command(command: Command, tmp_path: Path, videos: TextToVideo) -> None:
    clip = videos("a panda on a swing", seed=5, num_frames=3, num_inference_steps=2, guidance_scale=2.5)
    assert clip.frames.shape == (3, 256, 256, 3) and clip.frames.dtype == np.uint8
    files = clip.save(tmp_path / "api.gif")
    result = command(
        "gen-video", "a panda on a swing", "--seed", 5, "--frames", 3, "--steps", 2, "--guidance", 2.5,
        "--preset", "draft", "--device", "cpu", "--out", "command.gif",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert [file.name for file in files] == ["api.gif", "api.sheet.png", "api.gen-video.json"]
    for ending in ("gif", "sheet.png"):
        assert (tmp_path / f"api.{ending}").read_bytes() == (tmp_path / f"command.{ending}").read_bytes()
    ours, theirs = (
        json.loads((tmp_path / f"{name}.gen-video.json").read_text()) for name in ("api", "command")
    )
    for key in ("prompt", "completed", "seed", "options", "preset", "model", "size"):
        assert ours[key] == theirs[key], key


def test_a_clip_plays_in_a_notebook(videos: TextToVideo) -> None:
    clip = videos("a fox", seed=1, num_frames=2, num_inference_steps=1)
    html = clip._repr_html_()
    data = base64.b64decode(html.split("base64,")[1].split('"')[0])
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.format == "WEBP" and shown.n_frames == 2 and shown.info["loop"] == 0


def test_callbacks_see_every_step_and_seeds_come_from_generators(videos: TextToVideo) -> None:
    seen = []

    def callback(pipeline: TextToVideo, step: int, t: float, tensors: dict[str, torch.Tensor]) -> None:
        seen.append((pipeline is videos, step, tensors["latents"].shape, tensors["x0"].shape))

    options = {"num_frames": 2, "num_inference_steps": 3}
    generator = torch.Generator().manual_seed(3)
    first = videos("a fox", generator=generator, callback_on_step_end=callback, **options)
    second = videos("a fox", generator=generator, **options)
    again = videos("a fox", generator=torch.Generator().manual_seed(3), **options)
    shape = (1, 16, 2, 16, 16)
    assert seen == [(True, step, shape, shape) for step in range(3)]
    assert np.array_equal(first.frames, again.frames) and not np.array_equal(first.frames, second.frames)


def test_given_frames_are_read_and_recorded(tmp_path: Path, videos: TextToVideo) -> None:
    scene = named_scene("fox", "standing", backdrop="on a green background")
    pixels = render_scene_views([SceneView(scene, azimuth=-30.0)]).pixels
    Image.fromarray(pixels[0]).save(tmp_path / "green.png")
    options = {"num_seconds": 0.5, "num_inference_steps": 1, "image": tmp_path / "green.png"}
    clip = videos("a fox standing", **options)
    assert clip.frames.shape == (4, 256, 256, 3)
    assert clip.record.completed == "a fox standing on a green background"
    assert clip.record.options.azimuth == pytest.approx(-30, abs=15)
    assert clip.record.options.phase is not None
    given = videos("a fox standing", **options, azimuth=20.0, elevation=5.0, phase=0.25, complete=False)
    assert given.record.completed is None
    read = given.record.options
    assert (read.azimuth, read.elevation, read.phase) == (20.0, 5.0, 0.25)


def test_seeds() -> None:
    assert resolve_seed(None, None) == 0 and resolve_seed(7, None) == 7
    with pytest.raises(UserError, match="either a seed or a generator"):
        resolve_seed(1, torch.Generator())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"prompt": " "}, "The prompt is empty"),
        ({"num_inference_steps": 0}, "--steps cannot be 0"),
        ({"sampler": "magic"}, "--sampler cannot be 'magic'"),
        ({"width": 64, "height": 64}, "cannot apply --width"),
        ({"azimuth": 10.0, "elevation": 99.0}, "--elevation cannot be 99"),
        ({"last_image": "b.png"}, "A last image needs a first one"),
        ({"loop": True, "image": "a.png"}, "--loop and --image exclude each other"),
        ({"num_seconds": 1.0, "num_frames": 4}, "--seconds and --frames both"),
        ({"prompt": "0: a fox | 2: a panda", "num_frames": 8}, "begins at 2 s, after the clip's end"),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_sampling(
    videos: TextToVideo, arguments: dict, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        videos(**({"prompt": "a fox"} | arguments))


def test_an_image_and_its_file(tmp_path: Path) -> None:
    images = TextToImage.from_pretrained(device="cpu")
    picture = images("a fox", seed=2, num_inference_steps=2, sampler="unipc")
    same = images("a fox", seed=2, num_inference_steps=2, sampler="unipc")
    assert picture.image.size == (256, 256) and picture.record["sampler"] == "unipc"
    assert picture._repr_png_() == same._repr_png_()
    assert picture.save(tmp_path / "fox.png") == [tmp_path / "fox.png", tmp_path / "fox.image.json"]
    assert Image.open(tmp_path / "fox.png").size == (256, 256)
    with pytest.raises(UserError, match=r"must end in .png"):
        picture.save(tmp_path / "fox.jpg")
    assert images("a fox").record["sampler"] == "dpm-solver++"


def test_an_image_has_the_view_and_the_negations_of_its_prompt() -> None:
    images, once = TextToImage.from_pretrained(device="cpu"), {"num_inference_steps": 1}
    with pytest.warns(UserWarning, match="one figure, or two of a kind: here a cat"):
        record = images("a kitten and a robot from behind", **once).record
    assert (record["azimuth"], record["elevation"]) == (180, 13) and len(record["notes"]) == 1
    assert record["completed"].startswith("a cat standing on a")
    record = images(
        "no fox, a frog from above", azimuth=20, negative_prompt="fog", num_inference_steps=1
    ).record
    assert (record["azimuth"], record["elevation"], record["negative"]) == (20, 35, "fog, a fox")
    record = images("a frog from above", complete=False, **once).record
    assert (record["azimuth"], record["elevation"]) == (30, 13) and record["completed"] == record["prompt"]


@pytest.mark.usefixtures("one_thread")
def test_an_object_has_the_bytes_of_the_command(command: Command, tmp_path: Path) -> None:
    preset = tmp_path / "tiny.yaml"
    preset.write_text(yaml.safe_dump(TINY_OBJECT))
    objects = TextTo3D.from_pretrained("bundled", preset=str(preset), device="cpu")
    done = []
    fox = objects("a fox", seed=3, callback_on_step_end=lambda pipeline, step, state: done.append(step))
    assert done == list(range(6))
    assert len(fox.mesh.faces) > 100 and fox.field is not None and fox.record.iterations == 6
    fox.save(tmp_path / "api.glb")
    result = command(
        "dream3d", "a fox", "--seed", 3, "--preset", preset, "--device", "cpu", "--out", "command.glb"
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "api.glb").read_bytes() == (tmp_path / "command.glb").read_bytes()
    assert len(trimesh.load(tmp_path / "api.glb", force="mesh").faces) == len(fox.mesh.faces)
    html = fox._repr_html_()
    assert html.startswith("<iframe srcdoc=") and "Content-Security-Policy" in html

    short = objects("a fox", seed=3, callback_on_step_end=lambda pipeline, step, state: step == 1)
    assert short.record.iterations == 2


def test_importing_the_packages_imports_no_torch() -> None:
    code = (
        "import sys, core, video, dream3d, dreamlift; assert 'torch' not in sys.modules; "
        "print(dreamlift.__version__, dir(dreamlift))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "TextToVideo" in done.stdout, done.stderr


def test_every_lazy_export_is_there() -> None:
    import core
    import dream3d
    import dreamlift
    import video

    for package in (core, video, dream3d, dreamlift):
        names = dir(package)
        assert names == sorted(names) and names
        for name in names:
            assert getattr(package, name).__name__ == name
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            package.nothing  # noqa: B018
