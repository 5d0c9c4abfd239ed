"""What a model's folder says of the model it rests on, and where the later stages of its cascade are.

Imports no torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from core.bundled import BUNDLED, model_beside
from core.errors import UserError

CONFIG = "config.json"
SHIPPED = "bundled:"  # before the name of a base that ships


class Hashed(Protocol):
    """Contents of a model folder."""

    @property
    def sha256(self) -> str:
        """Of the weights file."""
        ...


Contents = TypeVar("Contents", bound=Hashed)


class Base(BaseModel):
    """Another model's folder, which holds the weights that a model's folder leaves out."""

    model_config = ConfigDict(extra="forbid")

    folder: str  # relative to the model's, or "bundled:" and the name of one that ships
    sha256: str  # of its weights file

    @classmethod
    def of(cls, base: Path, folder: Path, sha256: str) -> Base:
        """The base of the model in `folder`. base: the other's folder; sha256: of its weights file.

        One that ships is found wherever the package is installed; another must stay where it is, seen from
        `folder`.
        """
        ships = base.resolve().parent == BUNDLED.resolve()
        if ships and not folder.resolve().is_relative_to(BUNDLED.resolve()):
            return cls(folder=SHIPPED + base.resolve().name, sha256=sha256)
        return cls(folder=os.path.relpath(base, folder), sha256=sha256)

    def path(self, folder: Path) -> Path:
        """Folder of the base of the model in `folder`."""
        shipped = self.folder.startswith(SHIPPED)
        return BUNDLED / self.folder.removeprefix(SHIPPED) if shipped else folder / self.folder

    def read(self, folder: Path, read: Callable[[Path], Contents]) -> Contents:
        """Contents of the base of the model in `folder`, by the function that reads its kind.

        Raises UserError when it is missing, damaged or another model than it was.
        """
        stored = read(self.path(folder))
        if stored.sha256 != self.sha256:
            raise UserError(f"The model in {folder} rests on another image model than {self.folder}.")
        return stored


def base_folder(folder: Path) -> Path | None:
    """Folder of the base of a model, by its config; None where it has none, or where there is no model."""
    try:
        base = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("base")
        return Base.model_validate(base).path(folder) if base else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return None  # which the loading of the model reports


def read_config(folder: Path) -> dict[str, Any]:
    """The config in a model's folder; empty for a damaged one, which the loading of the model reports."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def reads_attributes(folder: Path) -> bool:
    """Whether the model in a folder of this project was trained with cameras and phases, by its config."""
    return bool(_image_config(folder).get("reads_attributes", True))


def image_size(folder: Path) -> int:
    """Side of the images of the model in a folder of this project, px; 64 where a damaged config has none."""
    size = _image_config(folder).get("size")
    return size if isinstance(size, int) else 64


def _image_config(folder: Path) -> dict[str, Any]:
    """The config of an image model, or of that in a video model."""
    config = read_config(folder)
    for name in ("model", "image"):
        config = config[name] if isinstance(config.get(name), dict) else config
    return config


def later_stage(folder: Path, name: str) -> Path | None:
    """Folder of a later stage of a model's cascade: next to the model, or to the one it rests on, if any.

    name: "super_resolution" or "interpolation".
    """
    own, base = model_beside(folder, name), base_folder(folder)
    return own or (later_stage(base, name) if base else None)


def stored_sha256(folder: Path) -> str:
    """The sha256 of the weights file of a model's folder, by its config; the folder is known to be whole."""
    return json.loads((folder / CONFIG).read_text(encoding="utf-8"))["sha256"]
