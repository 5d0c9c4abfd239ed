"""TensorBoard and Weights & Biases, through accelerate's trackers."""

import json
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from core.errors import UserError
from core.io.atomic import atomic_write

TRACKERS = ("tensorboard", "wandb")  # the names of accelerate and of the packages
PROJECT = "dreamlift"
WANDB = "wandb.json"  # in the run folder: the id under which a resumed run goes on


def check_tracker(name: str | None) -> None:
    """Raises UserError for a tracker that is not known, or whose package is not installed."""
    if name is None:
        return
    if name not in TRACKERS:
        raise UserError(f"There is no tracker {name!r}: choose {' or '.join(TRACKERS)}.")
    try:
        version(name)
    except PackageNotFoundError as error:
        raise UserError(
            f"--track {name} needs a package that is not installed: pip install {name}"
        ) from error


@contextmanager
def tracking(accelerator: Accelerator, run: Path, step: int, settings: dict[str, Any]) -> Generator[None]:
    """Sends what the trainer logs to the tracker that the accelerator was made with, if there is one.

    step: where the run starts or resumes; what TensorBoard has of later steps is hidden, as it is repeated.
    settings: stored with the run by Weights & Biases.
    """
    if accelerator.log_with:
        name = str(accelerator.log_with[0])
        options: dict[str, Any] = {"purge_step": step + 1}
        if name == "wandb":
            options = {"name": run.name, "dir": str(run), "resume": "allow", "config": settings}
            if accelerator.is_main_process:
                options["id"] = _wandb_id(run)
        accelerator.init_trackers(PROJECT, init_kwargs={name: options})
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def _wandb_id(run: Path) -> str:
    """The id of a run, made when it starts."""
    path = run / WANDB
    if not path.is_file():
        with atomic_write(path) as draft:
            draft.write_text(json.dumps({"id": secrets.token_hex(8)}), encoding="utf-8")
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["id"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path} is damaged: delete it, and the tracker begins another run.") from error
