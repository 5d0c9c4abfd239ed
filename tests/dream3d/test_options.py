"""Options of dream3d: presets, validation, defaults of the model."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from core.errors import UserError
from core.io.presets import load_preset
from dream3d.job import ObjectJob, check_prompt
from dream3d.options import ObjectOptions, Stage

STAGE = Stage(share=1, size=32, samples=16, grid=16, guidance=5)
GOOD = ObjectOptions(iterations=10, learning_rate=0.1, stages=(STAGE,))


@pytest.mark.parametrize("name", ["draft", "standard", "fine"])
def test_presets_are_valid_options(name: str) -> None:
    options = load_preset(f"dream3d/{name}", ObjectOptions)
    assert sum(stage.share for stage in options.stages) == pytest.approx(1)
    assert options.camera == "input" and options.lighting.share == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"elevation": (30, 10)}, "elevation must be given as"),
        ({"noise": ((-5, -4), (7, 9))}, "noise must be ranges of shares, from 0 to 1"),
        ({"noise": ((0.9, 0.5), (0.1, 0.2))}, "noise must be given as"),
        ({"elevation": (0, 100)}, "between -90 and 90"),
        ({"stages": (STAGE, STAGE)}, "add up to 1"),
        ({"weights": {"sparsity": float("inf")}}, "weights.sparsity\n  Input should be a finite number"),
        ({"learning_rate": float("nan")}, "learning_rate\n  Input should be a finite number"),
    ],
)
def test_inconsistent_options_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ObjectOptions(**{**GOOD.model_dump(), **values})


def test_errors_name_the_invalid_option() -> None:
    assert GOOD.with_changes(loss="vsd", iterations=None).loss == "vsd"
    assert [stage.guidance for stage in GOOD.with_changes(guidance=9.0).stages] == [9.0]
    with pytest.raises(UserError, match="--iterations cannot be 0"):
        GOOD.with_changes(iterations=0)
    with pytest.raises(UserError, match="--loss cannot be 'magic'"):
        GOOD.with_changes(loss="magic")


def test_the_checkpoint_preset_takes_guidance_from_loss_and_model() -> None:
    options = load_preset("dream3d/checkpoint", ObjectOptions)
    with pytest.raises(ValueError, match="guidance of the stage is not set"):
        _ = options.stages[0].scale
    for loss, latents, scale in [
        ("sds", True, 100),
        ("sds", False, 20),
        ("vsd", True, 7.5),
        ("ism", False, 7.5),
    ]:
        fitted = options.with_changes(loss=loss).with_model_defaults(takes_camera=False, latents=latents)
        assert {stage.scale for stage in fitted.stages} == {scale} and fitted.camera == "words"
    assert {s.scale for s in options.with_changes(guidance=30.0).with_model_defaults(False, True).stages} == {
        30.0
    }


def test_the_camera_is_in_words_only_for_models_without_a_camera_input() -> None:
    assert GOOD.with_model_defaults(takes_camera=True, latents=True) == GOOD
    assert GOOD.with_model_defaults(takes_camera=False, latents=True).camera == "words"
    without = GOOD.model_copy(update={"camera": "none"})
    assert without.with_model_defaults(takes_camera=False, latents=True).camera == "none"


def test_an_empty_prompt_is_refused() -> None:
    check_prompt("a fox")
    with pytest.raises(UserError, match="empty"):
        check_prompt("  ")


def test_an_object_s_prompt_is_read_without_place_and_view() -> None:
    preset = load_preset("dream3d/standard", ObjectOptions)
    job = ObjectJob("a puppy in a French hat on the beach, side view, not a cat", 0, Path("a.obj"))
    assert job.text == job.prompt and job.completed is None and job.adjusted(preset) is preset
    read = job.with_reading()
    assert read.completed and read.text.startswith("a corgi wearing a") and read.text.endswith(" beret")
    assert read.reading and len(read.reading.notes) == 2
    options = read.adjusted(preset.with_changes(negative="fog"))
    assert options.negative == "fog, a cat" and options.with_changes(negative="fog").stages == preset.stages
