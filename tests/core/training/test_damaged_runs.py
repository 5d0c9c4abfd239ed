"""Run folders that are damaged: one sentence that says where; a line that a kill has cut is left out."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.errors import UserError
from core.training import checkpoint
from core.training.config import Budget
from core.training.monitoring import run_log
from tests.core.training.test_trainer import MeanTask, make

GOOD = {"step": 3, "seconds": 1.0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    folder = tmp_path_factory.mktemp("run")
    make(MeanTask(), folder).run(Budget(steps=3))
    with safe_open(folder / checkpoint.FILE, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize(
    "progress",
    [
        [], 3, None, {}, {"step": 1}, GOOD | {"step": -1}, GOOD | {"step": float("nan")},
        GOOD | {"step": "3"},
        GOOD | {"step": True}, GOOD | {"seconds": -1}, GOOD | {"seconds": float("inf")},
        GOOD | {"seconds": None},
    ],
)  # fmt: skip
def test_impossible_counters_are_refused(saved: dict[str, Tensor], tmp_path: Path, progress: object) -> None:
    save_file(saved, tmp_path / checkpoint.FILE, {"progress": json.dumps(progress)})
    with pytest.raises(UserError, match="checkpoint.safetensors is damaged: start a new run folder"):
        make(MeanTask(), tmp_path)


@pytest.mark.parametrize(
    ("start", "value", "reason"),
    [
        ("optimizer/", None, r"is damaged \(the state of the optimizer is missing\)"),
        ("optimizer/", torch.zeros(2, 5), r"is damaged \(optimizer/.* is of no parameter\)"),
        ("network/", None, "is of another network than this run: .* is missing"),
        ("network/", torch.zeros(2, 5), "is of another network than this run: .* has the shape"),
        ("network/", torch.full((1,), float("nan")), "is not finite|another network"),
        ("ema/", torch.zeros(2, 5), "is of another network than this run"),
    ],
)  # fmt: skip
def test_a_damaged_state_is_refused(
    saved: dict[str, Tensor], tmp_path: Path, start: str, value: Tensor | None, reason: str
) -> None:
    tensors = {name: tensor for name, tensor in saved.items() if not name.startswith(start)}
    if value is not None:
        tensors |= {name: value.clone() for name in saved if name.startswith(start)}
    save_file(tensors, tmp_path / checkpoint.FILE, {"progress": json.dumps(GOOD)})
    with pytest.raises(UserError, match=reason):
        make(MeanTask(), tmp_path)


@pytest.mark.parametrize(
    "line", ["garbage", "[1]", "3", "{}", '{"step": "x"}', "\x00\x00", "", "[" * 100_000]
)
def test_a_damaged_line_of_the_log_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / run_log.LOG).write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
    with pytest.raises(UserError, match=r"Line 2 of .*log.jsonl is damaged: delete that line"):
        run_log.read(tmp_path)


@pytest.mark.parametrize("cut", ["", '{"step": 2, "lo', "\x00\x00", '{"step": 2}'])
def test_a_last_line_that_was_cut_is_left_out(tmp_path: Path, cut: str) -> None:
    (tmp_path / run_log.LOG).write_text(f'{{"step": 1}}\n{cut}')
    assert run_log.read(tmp_path) == [{"step": 1}]
