"""Runs that do not fit are refused before their work; those that fit are not."""

from pathlib import Path

import pytest

from core.batches import requirements
from core.batches.requirements import Requirements, check_requirements
from core.errors import UserError
from core.io.resources import GIB
from dream3d.presets import load_named_preset
from dream3d.requirements import check_objects, estimate_object
from dreamlift.commands.image import check_images
from video.cli import _preset
from video.estimates.requirements import estimate_clip
from video.find_model import find_model

SMALL = Requirements(0.1 * GIB, 1000)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What is free on a machine whose process takes up nothing yet."""
    free = {"memory": 8.0 * GIB, "disk": 100.0 * GIB}
    monkeypatch.setattr(requirements, "free_memory", lambda: free["memory"])
    monkeypatch.setattr(requirements, "used_memory", lambda: 0)
    monkeypatch.setattr(requirements, "free_disk", lambda folder: free["disk"])
    return free


def test_a_run_needs_the_memory_of_its_largest_output_and_the_disk_of_all(machine: dict[str, float]) -> None:
    large = Requirements(0.5 * GIB, 5000)
    assert check_requirements([SMALL, large], 3, None, "clip", "") == (0.5 * GIB, 3 * 6000)
    machine["disk"] = 17_999
    with pytest.raises(UserError) as refused:
        check_requirements([SMALL, large], 3, "clips/", "clip", "")
    assert str(refused.value) == (
        "These 6 clips would need about 18 KiB on the disk of the folder clips, and 18 KiB are free: give a "
        "smaller --num."
    )
    check_requirements([SMALL, large], 3, "clips/", "clip", "", again=True)
    machine["memory"] = 0.4 * GIB
    with pytest.raises(UserError) as refused:
        check_requirements([large], 1, None, "clip", "give a smaller --scale", force=False)
    assert check_requirements([large], 1, None, "clip", "", force=True) == large
    assert str(refused.value) == (
        "This clip would need about 0.5 GiB of memory, and 0.4 GiB are free: give a smaller --scale, or "
        "--force to run anyway."
    )


# Peak memory in GiB and MB of all files, measured: the table in docs/files.md.
CLIPS = [
    ({}, ".mp4", 1, 0.56, 1.23),
    ({"scale": 8}, ".mp4", 1, 1.00, 3.41),
    ({"frames": 256, "super_resolution": 0}, ".mp4", 1, 0.99, 12.0),
    ({"super_resolution": 0}, ".mp4", 16, 0.82, 0.77),
    ({"frames": 128}, ".mp4", 1, 1.00, 10.4),
    ({"frames": 64, "fps": 32}, ".mp4", 1, 1.20, 18.6),
    ({"scale": 4}, ".gif", 1, 0.69, 5.12),
    ({}, ".mp4", 8, 0.70, 1.23),
]


@pytest.mark.parametrize(("changes", "extension", "batch", "memory", "size"), CLIPS)
def test_estimates_of_clips_are_at_most_what_was_measured_and_of_its_order(
    changes: dict[str, int], extension: str, batch: int, memory: float, size: float
) -> None:
    estimate = estimate_clip(find_model(None), _preset("standard").with_changes(**changes), extension, batch)
    assert 0.6 * memory < estimate.memory / GIB <= memory
    assert 0.6 * size < estimate.disk / 1e6 <= size


def test_the_estimate_of_an_object_is_at_most_what_was_measured() -> None:
    estimate = estimate_object(load_named_preset("draft"))
    assert 0.8 < estimate.memory / GIB < 1.82
    assert 1.5 < estimate.disk / 1e6 < 14  # 3.0 at the end, and a checkpoint in between
    fine = estimate_object(load_named_preset("draft").with_changes(texture=4096))
    assert 3 < fine.memory / GIB < 5.33


def test_what_cannot_fit_is_refused(machine: dict[str, float]) -> None:
    draft = load_named_preset("draft")
    with pytest.raises(UserError, match="These 100,000 objects would need about .* on the disk .* --num"):
        check_objects([draft], 100_000, None)
    with pytest.raises(UserError, match="This object would need about .* of memory.*such as draft\\."):
        vast = draft.stages[-1].model_copy(update={"size": 512, "samples": 512})
        check_objects([draft.model_copy(update={"stages": (vast,)})], 1, None)
    machine["disk"] = 4 * GIB
    with pytest.raises(UserError, match="These 100,000 images .* are free: give a smaller --num."):
        check_images(100_000, None)
    machine["memory"] = 0.1 * GIB
    with pytest.raises(UserError, match="This image would need .*: end other programs."):
        check_images(1, str(Path("fox.png")))
