"""Checkpoints of an optimization that are damaged, or of another run: one sentence that says where."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.errors import UserError
from core.io.files.record import MadeBy
from dream3d.optimization import checkpoint
from dream3d.optimization.optimize import Optimization
from dream3d.options import ObjectOptions, Stage

RUN = {"prompt": "a fox", "seed": 0}
MADE = MadeBy("a fox", 0)
Tensors = dict[str, Tensor]


def options() -> ObjectOptions:
    stage = Stage(share=1, size=16, samples=16, grid=16, guidance=1)
    buffer = {"size": 4, "refresh_every": 2, "views_per_step": 3, "pixel_stride": 2}
    return ObjectOptions(iterations=8, learning_rate=0.3, stages=(stage,), target_buffer=buffer)


@pytest.fixture(scope="module")
def saved(begin: Callable[..., Optimization], tmp_path_factory: pytest.TempPathFactory) -> Tensors:
    """The tensors of a checkpoint after three iterations."""
    run, file = begin(options(), 32), tmp_path_factory.mktemp("saved") / "fox.safetensors"
    for _ in itertools.islice(run, 3):
        pass
    checkpoint.save(file, run, RUN, MADE)
    with safe_open(file, "pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run/iteration": torch.tensor(-1)}, "its iteration is not a whole number from 0 to 8"),
        ({"run/iteration": torch.tensor(9)}, "its iteration is not a whole number from 0 to 8"),
        ({"run/iteration": torch.tensor(float("nan"))}, "run/iteration is not finite"),
        ({"run/iteration": torch.tensor(3.5)}, "its iteration is not a whole number"),
        ({"run/iteration": torch.tensor([1, 2])}, "its iteration is not a whole number"),
        ({"run/iteration": None}, "run/iteration is missing"),
        ({"run/generator": torch.zeros(3, dtype=torch.uint8)}, "run/generator has the shape"),
        ({"run/generator": None}, "run/generator is missing"),
        ({"field/": None}, "field/.* is missing"),
        ({"field/": torch.zeros(2, 2)}, "field/.* has the shape"),
        ({"field/": torch.full((1,), float("nan"))}, "field/.* is not finite"),
        ({"occupancy/density": torch.zeros(2)}, "occupancy/density has the shape"),
        ({"optimizer/": None}, "the state of the optimizer is missing"),
        ({"optimizer/0/exp_avg": None}, "exp_avg is missing"),
        ({"optimizer/0/exp_avg": torch.zeros(2)}, "exp_avg has the shape"),
        ({"optimizer/7/exp_avg": torch.zeros(2)}, "optimizer/7/exp_avg is not needed"),
        ({"view_strategy/target": None}, "view_strategy/target is missing"),
        ({"view_strategy/target": torch.zeros(3, 3, 32, 32)}, "its stored targets are not 4"),
        ({"view_strategy/target": torch.zeros(4, 3, 8, 8)}, "other sizes than their renders"),
        ({"view_strategy/oldest": torch.tensor(4)}, "the oldest of its stored targets is none of them"),
        ({"another": torch.zeros(1)}, "another is not needed"),
    ],
)  # fmt: skip
def test_a_damaged_state_is_refused_with_the_tensor(
    begin: Callable[..., Optimization],
    saved: Tensors,
    tmp_path: Path,
    changes: dict[str, Tensor | None],
    reason: str,
) -> None:
    tensors = dict(saved)
    for start, value in changes.items():
        for name in [name for name in tensors if name.startswith(start)] or [start]:
            if value is None:
                del tensors[name]
            else:
                tensors[name] = value.clone()
    save_file(tensors, tmp_path / "fox.safetensors")
    with pytest.raises(UserError, match=rf"The checkpoint .* is damaged \(.*{reason}"):
        checkpoint.load(tmp_path / "fox.safetensors", begin(options(), 32))


@pytest.mark.parametrize("run", ["[]", "3", "null", "{", "[" * 100_000])
def test_metadata_that_are_no_object_are_refused(saved: Tensors, tmp_path: Path, run: str) -> None:
    file = tmp_path / "fox.safetensors"
    save_file(saved, file, {"run": run})
    with pytest.raises(UserError, match="is damaged: delete it, or start again without --resume"):
        checkpoint.check(file, RUN)
    save_file(saved, file, {"run": json.dumps(RUN)})
    checkpoint.check(file, RUN)
