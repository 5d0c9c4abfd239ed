"""What follows from stored figures, and their tables."""

import pytest

from dreamlift.bench.results import (
    BenchResult,
    Comparison,
    Cost,
    CostPoint,
    Environment,
    Measured,
    Part,
    Parts,
    Rates,
    Work,
)
from dreamlift.bench.tables import as_markdown, time_text

RATES = Rates(matmul=100, convolution=200, bfloat16=400, memory=40)
STEP = Comparison(
    table="Steps",
    name="a step",
    per="step",
    sides={
        "ours": Measured(seconds=[1, 2, 3, 2, 2], peak_gb=3.5),
        "peer": Measured(seconds=[2, 2, 2, 4, 4]),
    },
    missing=["other"],
    work={"ours": Work(gflop=100, gbytes=7), "peer": Work(gflop=300, gbytes=7)},
)


def test_ratios_and_differences_are_of_the_same_rounds() -> None:
    assert STEP.relative("peer")[:3] == (0.5, 0.5, 1.5)  # of 0.5, 1, 1.5, 0.5, 0.5
    difference = STEP.model_copy(update={"relation": "difference"})
    assert difference.relative("peer")[:3] == (-1, -2, 1)  # of -1, 0, 1, -2, -2
    per_gflop = STEP.model_copy(update={"relation": "ratio per GFLOP"})
    assert per_gflop.relative("peer").median == pytest.approx(1.5)


def test_exponent_of_a_cost_that_is_a_power() -> None:
    points = [CostPoint(value=value, seconds=[0.1 * value**1.5] * 3) for value in (2, 4, 16)]
    assert Cost(name="c", parameter="frames", points=points).exponent == pytest.approx(1.5, abs=1e-3)


def test_parts_have_shares_of_their_sum() -> None:
    parts = Parts(name="p", per="clip", parts={"a": Part(seconds=[1, 1, 9]), "b": Part(seconds=[3])})
    assert (parts.share("a"), parts.share("b"), parts.seconds) == (0.25, 0.75, 4)


def test_figures_keep_four_digits() -> None:
    assert Work(gflop=1.234567, gbytes=123456.0).model_dump() == {"gflop": 1.235, "gbytes": 123500}


def test_tables_have_all_figures_and_what_is_not_installed() -> None:
    result = BenchResult(
        suite="core",
        command="dreamlift bench core",
        quick=False,
        environment=Environment(
            processor="a processor",
            device="cpu",
            threads=1,
            clock="processor time",
            load=[1, 2],
            versions={"torch": "2.0"},
            date="2026-01-02",
        ),
        rates=RATES,
        comparisons=[STEP],
        costs=[
            Cost(name="Cost", parameter="frames", points=[CostPoint(value=v, seconds=[v]) for v in (1, 2)])
        ],
        parts=[Parts(name="Parts", per="call", parts={"linear": Part(seconds=[2], gflop=100)})],
    )
    assert BenchResult.model_validate_json(result.model_dump_json()) == result
    text = as_markdown(result)
    head, row = (
        line.split(" | ") for line in text.splitlines() if line.startswith("|  | ours") or "a step" in line
    )
    assert dict(zip(head, row, strict=True)) == {
        "| ": "| a step, per step",
        "ours": "2 s",
        "peer": "2 s",
        "other": "not installed",
        "ours over peer": "0.50 (0.50 to 1.50)",
        "peak GB, ours": "3.5",
        "GFLOP": "100",
        "GB moved": "7",
        "of the convolution rate |": "25% |",
    }
    assert "Seconds grow with frames^1.00." in text
    assert "| linear | 2 s | 100% | 100 | 50 | 25% |" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (12.345, "12.3 s"),
        (345.6, "346 s"),
        (0.0456, "45.6 ms"),
        (3.56e-5, "35.6 us"),
        (-0.002, "-2 ms"),
        (0, "0 us"),
    ],
)
def test_durations_have_three_digits(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
