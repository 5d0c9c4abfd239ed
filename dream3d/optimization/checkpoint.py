"""Checkpoints of a distillation: one safetensors file beside the mesh-to-be, whole or not at all."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from core.errors import UserError
from core.io.atomic import atomic_write
from dream3d.optimization.optimize import Optimization

ENDING = ".checkpoint.safetensors"


def save(path: Path, optimization: Optimization, run: dict[str, object]) -> None:
    """Writes all that the next iteration depends on.

    run: what the run is of, as JSON: prompt, seed, options.
    """
    with atomic_write(path) as draft:
        save_file(
            {name: value.contiguous() for name, value in optimization.state_dict().items()},
            draft,
            {"run": json.dumps(run, sort_keys=True)},
        )


def check(path: Path, run: dict[str, object]) -> None:
    """Raises UserError unless there is a checkpoint of that very run."""
    try:
        with safe_open(path, "pt") as file:
            found = json.loads((file.metadata() or {})["run"])
    except FileNotFoundError as error:
        raise UserError(f"There is nothing to resume: no {path}.") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"The checkpoint {path} is damaged.") from error
    wanted = json.loads(json.dumps(run))
    for name, value in wanted.items():
        if found.get(name) != value:
            raise UserError(
                f"The checkpoint {path} is of another {name}: {_short(found.get(name))}, not {_short(value)}."
            )


def load(path: Path, optimization: Optimization) -> None:
    """Restores what `save` wrote, exactly. Raises UserError when it does not fit."""
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        optimization.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise UserError(f"The checkpoint {path} is damaged.") from error


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
