"""What dream3d is asked for: what is refused, and in whose words."""

import pytest
from pydantic import ValidationError

from core.errors import UserError
from core.presets import load_preset
from dream3d.options import ObjectOptions, Stage, check_prompt

STAGE = Stage(share=1, size=32, samples=16, grid=16, guidance=5)
GOOD = ObjectOptions(iterations=10, learning_rate=0.1, stages=(STAGE,))


@pytest.mark.parametrize("name", ["draft", "standard", "fine"])
def test_the_presets_are_options(name: str) -> None:
    options = load_preset(f"dream3d/{name}", ObjectOptions)
    assert sum(stage.share for stage in options.stages) == pytest.approx(1)
    assert options.camera == "input" and options.lighting.share == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"elevation": (30, 10)}, "elevation must be given as the lower end"),
        ({"elevation": (0, 100)}, "between -90 and 90"),
        ({"stages": (STAGE, STAGE)}, "add up to 1"),
        ({"camera": "words", "loss": "csd"}, "the loss csd needs camera: input"),
    ],
)
def test_what_does_not_fit_together_is_refused(values: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ObjectOptions(**{**GOOD.model_dump(), **values})


def test_changes_name_the_option_that_cannot_be() -> None:
    assert GOOD.changed(loss="vsd", iterations=None).loss == "vsd"
    assert [stage.guidance for stage in GOOD.changed(guidance=9.0).stages] == [9.0]
    with pytest.raises(UserError, match="--iterations cannot be 0"):
        GOOD.changed(iterations=0)
    with pytest.raises(UserError, match="--loss cannot be 'magic'"):
        GOOD.changed(loss="magic")


def test_a_prompt_says_something() -> None:
    check_prompt("a fox")
    with pytest.raises(UserError, match="empty"):
        check_prompt("  ")
