"""The history: what is made again, what follows, the bin, and estimates."""

from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.io.clips.write import write_clip
from core.io.media import read_still
from dreamlift.studio.estimates import estimate
from dreamlift.studio.page.clip_form import CONTINUE, REDRAW, ClipForm
from dreamlift.studio.page.object_form import ObjectForm
from dreamlift.studio.studio import Studio

TINY = {"steps": 2, "frames": 2, "super_resolution": 0}


@pytest.fixture
def clip(studio: Studio) -> str:
    """The name of a clip whose prompt names a view and a negation."""
    prompt = "a panda waving, seen from the side, without a hat"
    (job,) = studio.submit({"prompt": prompt, "seed": 5, "preset": "draft", "options": TINY})
    return studio.queue.wait(job.id, 120).files[0]


@pytest.mark.usefixtures("one_thread")
def test_a_clip_made_again_has_the_same_bytes_and_another_name(studio: Studio, clip: str) -> None:
    again = studio.history.submission(clip)
    assert (again["seed"], again["preset"], again["format"]) == (5, "draft", ".mp4")
    (job,) = studio.submit(again)
    second = studio.queue.wait(job.id, 120).files[0]
    assert second == clip.replace(".mp4", "-2.mp4")
    assert studio.library.find(second).read_bytes() == studio.library.find(clip).read_bytes()
    assert [entry.name for entry in studio.history.entries()] == [second, clip]

    # The next estimate is by these two: four frames cost twice as much as two.
    entries = studio.history.entries()
    longer = {"prompt": "a fox", "preset": "draft", "options": TINY | {"frames": 4}}
    costs = [estimate(studio.plan(each), entries) for each in (again, longer)]
    assert costs[0].seconds is not None
    assert costs[1].seconds == pytest.approx(2 * costs[0].seconds)
    sampled = sorted(entry.record.seconds.sample for entry in entries)  # pyright: ignore
    assert sampled[0] <= costs[0].seconds <= sampled[1]

    # The bin keeps what has the same name.
    studio.history.discard(second)
    place = studio.library.folder / "bin"
    kept = {path.name for path in place.iterdir()}
    assert {Path(second).stem} == {name.split(".")[0] for name in kept}
    studio.library.find(clip).with_name(second).write_bytes(b"another")
    studio.library.discard([second])
    assert {path.name for path in place.iterdir()} == kept | {f"{Path(second).stem} (2).mp4"}
    with pytest.raises(UserError, match="no such clip"):
        studio.history.discard(second)


def test_the_form_filled_by_a_submission_submits_the_same(studio: Studio) -> None:
    picture = studio.library.folder / "red.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    image = studio.library.add_upload(picture.read_bytes(), "red.png")
    with gr.Blocks():
        clip_form, object_form = ClipForm(), ObjectForm()
    for form, submission in (
        (
            clip_form,
            {
                "kind": "clip",
                "prompt": "a fox",
                "seed": 3,
                "model": "emoji",
                "preset": "fine",
                "format": ".gif",
                "options": {
                    "steps": 9,
                    "loop": True,
                    "tier": "exact",
                    "azimuth": 90,
                    "elevation": 0,
                    "image": image,
                },
            },
        ),
        (
            object_form,
            {
                "kind": "object",
                "prompt": "a fox",
                "seed": 3,
                "model": None,
                "preset": "standard",
                "format": ".glb",
                "options": {"iterations": 50, "guidance": 4.0, "tier": "fast"},
            },
        ),
    ):
        values = form.values(submission, studio.library)
        assert values.keys() == form.fields.keys()
        assert form.submission(values, studio.library) == submission


def test_a_given_clip_is_continued_or_drawn_again(studio: Studio) -> None:
    with gr.Blocks():
        form = ClipForm()
    frames = np.stack([np.full((16, 16, 3), shade, dtype=np.uint8) for shade in (0, 100, 200)])
    write_clip(studio.library.folder / "gray.mp4", frames, 8)
    blank = {"kind": "clip", "prompt": "a fox", "seed": 0, "model": None, "preset": None}
    values = form.values(blank | {"format": ".mp4", "options": {}}, studio.library)
    values["video"] = str(studio.library.folder / "gray.mp4")
    options = form.submission(values | {"going_on": CONTINUE}, studio.library)["options"]
    last = read_still(studio.library.find(options["image"]))
    assert np.asarray(last).mean() == pytest.approx(200, abs=4)
    assert options.keys() == {"image"}
    options = form.submission(values | {"going_on": REDRAW, "strength": 0.4}, studio.library)["options"]
    assert options["strength"] == 0.4
    assert studio.library.find(options["video"]).read_bytes() == Path(values["video"]).read_bytes()
