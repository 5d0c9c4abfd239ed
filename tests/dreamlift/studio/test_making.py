"""What the studio makes is what the front door makes, byte for byte, with previews on the way."""

from pathlib import Path

import pytest
import torch

from core.errors import UserError
from dream3d.optimization.optimize import Optimization
from dreamlift import TextTo3D, TextToVideo, text_to_3d
from dreamlift.studio.studio import Studio
from dreamlift.studio.work import clips, objects

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"size": 16, "samples": 16, "grid": 16, "guidance": 2.0, "steps": 1}
OBJECT = {
    "iterations": 4,
    "views": 2,
    "target_buffer": {"size": 4, "refresh_every": 2, "views_per_step": 2, "pixel_stride": 1},
    "stages": [{"share": 1.0, **SMALL}],
    "turn": 2,
    "texture": 64,
    "faces": 200,
}


def test_a_clip_is_that_of_the_front_door(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "PREVIEW_EVERY", 0.0)
    options = {"steps": 2, "frames": 4, "super_resolution": 0}
    prompt = "a panda waving, seen from the side"
    (job,) = studio.submit({"prompt": prompt, "seed": 7, "preset": "draft", "options": options})
    view = studio.queue.wait(job.id, 120)
    assert (view.state, view.preview) == ("done", 1)
    direct = TextToVideo.from_pretrained(preset="draft")(
        prompt, seed=7, num_inference_steps=2, num_frames=4, super_resolution=0
    )
    direct.save(tmp_path / "direct.mp4")
    made = studio.library.folder / view.files[0]
    assert made.name == "a-panda-waving-seen-from-the-side.mp4"
    assert made.read_bytes() == (tmp_path / "direct.mp4").read_bytes()


def test_an_object_is_optimized_as_by_the_front_door(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PREVIEW_EVERY", 0.0)
    monkeypatch.setattr(objects, "TURN", 2)
    finished = list[Optimization]()

    def finish(optimization: Optimization, *_: object, **__: object) -> None:
        finished.append(optimization)
        raise UserError("It is not meshed: that takes long.")

    monkeypatch.setattr(objects, "finish_object", finish)
    monkeypatch.setattr(text_to_3d, "finish_object", finish)
    (job,) = studio.submit(
        {"kind": "object", "prompt": "a fox", "seed": 3, "preset": "draft", "options": OBJECT}
    )
    view = studio.queue.wait(job.id, 120)
    assert view.error == "It is not meshed: that takes long."
    assert view.preview >= 1
    door = TextTo3D.from_pretrained(preset="draft")
    door.options = door.options.with_changes(**OBJECT)
    with pytest.raises(UserError):
        door("a fox", seed=3)
    states = [optimization.state_dict() for optimization in finished]
    assert len(states) == 2
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
