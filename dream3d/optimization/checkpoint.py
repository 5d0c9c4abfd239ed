"""Checkpoints of an optimization: one safetensors file next to the mesh, written atomically."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from core.errors import UserError
from core.io.files.record import MadeBy, checkpoint_metadata
from core.io.weights import write_tensors
from dream3d.optimization.optimize import Optimization

AFRESH = "delete it, or start again without --resume"


def save(path: Path, optimization: Optimization, run: dict[str, object], made: MadeBy) -> None:
    """Writes everything that the next iteration depends on.

    run: identity of the run for `check`, JSON-serializable: prompt, seed, options. made: prompt and seed as
        they were given.

    Raises UserError for a field that is not finite, and leaves the last checkpoint as it is.
    """
    optimization.check_field()
    metadata = {"run": json.dumps(run, sort_keys=True)} | checkpoint_metadata(made)
    write_tensors(path, optimization.state_dict(), metadata)


def check(path: Path, run: dict[str, object]) -> None:
    """Raises UserError unless `path` is a checkpoint of the run with this identity."""
    try:
        with safe_open(path, "pt") as file:
            stored = json.loads((file.metadata() or {})["run"])
        if not isinstance(stored, dict):
            raise ValueError
    except FileNotFoundError as error:
        raise UserError(f"There is nothing to resume: no {path}.") from error
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise UserError(f"The checkpoint {path} is damaged: {AFRESH}.") from error
    requested = json.loads(json.dumps(run))
    for name, value in requested.items():
        if stored.get(name) != value:
            found, expected = _short(stored.get(name)), _short(value)
            raise UserError(f"The checkpoint {path} is of another {name}: {found}, not {expected}.")


def load(path: Path, optimization: Optimization) -> None:
    """Restores the state that `save` wrote. Raises UserError for damaged files and other runs' states."""
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        optimization.load_state_dict(state)
    except ValueError as error:
        raise UserError(f"The checkpoint {path} is damaged ({error}): {AFRESH}.") from error
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise UserError(f"The checkpoint {path} is damaged: {AFRESH}.") from error


def _short(value: object) -> str:
    """JSON of a value, at most 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
