"""Checkpoints of a run: one safetensors file, written atomically, with the counters in its metadata.

The checkpoint before the last stays beside it. A run resumes from that one when the last is damaged.
"""

import json
import math
import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.optim import Optimizer

from core.errors import UserError
from core.finite import is_finite
from core.io.atomic import atomic_write
from core.io.weights import first_misfit

FILE = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"
NETWORK, EMA, OPTIMIZER, AUXILIARY, TASK = "network/", "ema/", "optimizer/", "beside/", "task/"


@runtime_checkable
class Stateful(Protocol):
    """A task with state that persists across steps."""

    def state_dict(self) -> dict[str, Tensor]:
        """The state to store."""
        ...

    def load_state_dict(self, state: dict[str, Tensor], /) -> None:
        """Restores a stored state."""
        ...


class Learner(Protocol):
    """A network and the optimizer of its parameters."""

    @property
    def network(self) -> nn.Module:
        """The trained network."""
        ...

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of the network's parameters."""
        ...


def save(
    folder: Path,
    learner: Learner,
    ema: nn.Module,
    progress: dict[str, Any],
    auxiliary: Learner | None = None,
    task: object = None,
) -> None:
    """Writes the checkpoint from which a run resumes.

    progress: counters, stored as JSON. auxiliary: a second trained network. task: stored if it is `Stateful`.

    Raises UserError, and leaves the checkpoints as they are, when a number is not finite.
    """
    tensors = _state(learner) | _prefixed(EMA, ema.state_dict())
    if auxiliary:
        tensors |= _prefixed(AUXILIARY, _state(auxiliary))
    if isinstance(task, Stateful):
        tensors |= _prefixed(TASK, task.state_dict())
    broken = [name for name, value in tensors.items() if not value.isfinite().all()]
    if broken:
        name = broken[0].partition("/")[2]
        raise UserError(
            f"{name} is no longer finite at step {progress['step']}{kept(folder)}: lower the learning rate."
        )
    with atomic_write(folder / FILE) as draft:
        stored = {name: value.detach().contiguous() for name, value in tensors.items()}
        # save_file writes a draft of its own, which a killed process would leave behind.
        draft.write_bytes(serialize(stored, {"progress": json.dumps(progress)}))
        if (folder / FILE).is_file():
            os.replace(folder / FILE, folder / PREVIOUS)


def load(
    folder: Path, learner: Learner, ema: nn.Module, auxiliary: Learner | None = None, task: object = None
) -> dict[str, Any]:
    """Restores exactly what `save` wrote and returns the progress.

    Raises UserError, with the first tensor, when it does not fit or is not whole.
    """
    tensors, progress = _read(folder)
    _check(folder, learner, tensors, progress)
    try:
        ema.load_state_dict(_without(EMA, tensors))
        _restore(learner, tensors)
        if auxiliary:
            _restore(auxiliary, _without(AUXILIARY, tensors))
        if isinstance(task, Stateful):
            task.load_state_dict(_without(TASK, tensors))
    except (RuntimeError, KeyError, ValueError) as error:
        raise UserError(f"The checkpoint {folder / FILE} is of another network than this run.") from error
    return progress


def _check(folder: Path, learner: Learner, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
    """Raises UserError for weights that are not the network's, and for an optimizer that was not at work."""
    if misfit := first_misfit(learner.network.state_dict(), _without(NETWORK, tensors)):
        raise UserError(
            f"The checkpoint {folder / FILE} is of another network than this run: {misfit}. Start a new run "
            "folder."
        )
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise _damaged(folder, f"{name} is not finite")
    moments = _without(OPTIMIZER, tensors)
    if progress["step"] and not moments:
        raise _damaged(folder, "the state of the optimizer is missing")
    shapes = {name: parameter.shape for name, parameter in learner.network.named_parameters()}
    for name, moment in moments.items():
        of_parameter = shapes.get(name.rpartition("/")[0])
        if of_parameter is None or (moment.shape != of_parameter and moment.ndim):
            raise _damaged(folder, f"{OPTIMIZER}{name} is of no parameter")


def _damaged(folder: Path, reason: str) -> UserError:
    return UserError(f"The checkpoint {folder / FILE} is damaged ({reason}): start a new run folder.")


def _state(learner: Learner) -> dict[str, Tensor]:
    """The weights, and the optimizer's state of each parameter by the parameter's name."""
    moments = {
        f"{name}/{key}": value
        for name, parameter in learner.network.named_parameters()
        for key, value in learner.optimizer.state.get(parameter, {}).items()
    }
    return _prefixed(NETWORK, learner.network.state_dict()) | _prefixed(OPTIMIZER, moments)


def _restore(learner: Learner, tensors: dict[str, Tensor]) -> None:
    """Restores the tensors of `_state`. Raises RuntimeError when the weights do not fit."""
    network, optimizer = learner.network, learner.optimizer
    network.load_state_dict(_without(NETWORK, tensors))
    names = {parameter: name for name, parameter in network.named_parameters()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for number, parameter in enumerate(parameters):
        stored = _without(f"{OPTIMIZER}{names[parameter]}/", tensors)
        # Fused optimizers need moments with the strides of their parameter, such as channels_last.
        moments[number] = {
            key: torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
            for key, value in stored.items()
        }
    state = {number: moment for number, moment in moments.items() if moment}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def exists(folder: Path) -> bool:
    """Whether the run has a checkpoint from which it can resume."""
    return (folder / FILE).is_file() or (folder / PREVIOUS).is_file()


def read_ema(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a run, float32. Raises UserError when the checkpoint is missing or damaged."""
    return _without(EMA, _read(folder)[0])


def kept(folder: Path) -> str:
    """Part of a sentence: which checkpoint is left when a run breaks off; empty without one."""
    return f"; the checkpoint of step {_read(folder)[1]['step']} is kept" if exists(folder) else ""


def _read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and counters of the last checkpoint that is whole."""
    if not exists(folder):
        raise UserError(f"{folder} holds no checkpoint.")
    for path in (folder / FILE, folder / PREVIOUS):
        try:
            with safe_open(path, "pt") as file:
                progress = _progress((file.metadata() or {})["progress"])
                return {name: file.get_tensor(name) for name in file.keys()}, progress  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, ValueError, RecursionError):
            continue
    raise UserError(f"The checkpoint {folder / FILE} is damaged: start a new run folder.")


def _progress(text: str) -> dict[str, Any]:
    """The counters in a checkpoint. Raises ValueError or KeyError for what cannot be."""
    progress = json.loads(text)
    if not isinstance(progress, dict) or type(progress["step"]) is not int or progress["step"] < 0:
        raise ValueError("no step")
    if not isinstance(progress["seconds"], int | float) or not 0 <= progress["seconds"] < math.inf:
        raise ValueError("no time")
    return progress


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def _without(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
