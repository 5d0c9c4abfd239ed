"""What the commands write folders under: a lock, and a look at what is there."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from core.errors import UserError
from core.io.files.locks import lock_folder
from core.io.files.record import sha256_of

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
WEIGHTS = "model.safetensors"
OF_MODELS = (
    "config.json",
    WEIGHTS,
    "pytorch_lora_weights.safetensors",
    "diffusion_pytorch_model.safetensors",
)


def writes(
    *folders: str, model: str | None = None
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorator of a command that alone writes into the folders that these parameters name.

    A second process that would write there is refused, and drafts of killed ones are deleted. The processes
    of one run, started by accelerate, count as one.

    model: the parameter of the folder of a model that the command writes, where other models are not
        replaced, unless the command has a parameter `overwrite`, which is true.
    """
    names = (*folders, *([model] if model else []))

    def decorate(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(command)

        @functools.wraps(command)
        def locked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            given = signature.bind(*args, **kwargs).arguments
            with ExitStack() as locks:
                if os.environ.get("RANK", "0") == "0":
                    if model and not given.get("overwrite"):
                        _check_model(Path(given[model]), "overwrite" in signature.parameters)
                    for folder in {Path(os.path.realpath(given[name])) for name in names}:
                        locks.enter_context(lock_folder(folder))
                return command(*args, **kwargs)

        return locked

    return decorate


def _check_model(folder: Path, has_overwrite: bool) -> None:
    """Raises UserError where a model would replace files that this project has not written."""
    there = [name for name in OF_MODELS if os.path.lexists(folder / name)]
    if there and not _is_own(folder, there):
        more = ", or replace it with --overwrite" if has_overwrite else ""
        raise UserError(
            f"{folder / there[0]} exists, and is not of a model that this project has written: choose "
            f"another folder{more}."
        )


def _is_own(folder: Path, there: list[str]) -> bool:
    """Whether a folder holds a model of this project and nothing of another: its config knows its weights."""
    try:
        config: Any = json.loads((folder / OF_MODELS[0]).read_text(encoding="utf-8"))
        return there == [*OF_MODELS[:2]] and config["sha256"] == sha256_of(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError):
        return False
