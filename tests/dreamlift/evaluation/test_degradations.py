"""The measures of `dreamlift evaluate` on renders of the toybox that are degraded on purpose."""

import pytest

from benchmarks.degradations import DEGRADATIONS, MUST_WORSEN, RENDERS, not_noticed, run
from core.bundled import BUNDLED
from dreamlift.evaluation.judge import Judge
from dreamlift.evaluation.measuring import Instruments

Rows = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def table() -> Rows:
    return run(Instruments(Judge.load(BUNDLED / "judge")), clips=6, images=96, size=64)


def test_every_degradation_worsens_its_measures(table: Rows) -> None:
    assert table.keys() == {RENDERS, *DEGRADATIONS} and MUST_WORSEN.keys() == DEGRADATIONS.keys()
    assert not_noticed(table) == []


def test_renders_are_read_right_and_the_order_of_frames_changes_no_image(table: Rows) -> None:
    assert table[RENDERS]["subject"] == 1 and table[RENDERS]["action, by motion alone"] >= 5 / 6
    for row in ("shuffled frames", "frozen frames"):
        assert table[row]["Frechet distance, detail"] == table[RENDERS]["Frechet distance, detail"]
        assert table[row]["action, by motion alone"] == 0


def test_measures_that_do_not_worsen_are_listed(table: Rows) -> None:
    swapped = table | {"blurred": table[RENDERS]}
    assert not_noticed(swapped) == [f"blurred: {name}" for name in MUST_WORSEN["blurred"]]
