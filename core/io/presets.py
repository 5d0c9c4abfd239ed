"""Presets: YAML files read into typed objects; errors name the file and the key. Imports no torch."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from core.errors import UserError

Preset = TypeVar("Preset", bound=BaseModel)

_INSTALLED = Path(__file__).parents[1] / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "configs"


def load_preset(name: str | Path, kind: type[Preset]) -> Preset:
    """The preset of that name, "bundled-image" or "gen-video/draft", or of a YAML file, checked as `kind`.

    What ends in .yaml or .yml is a file's path; anything else a name within `CONFIGS`.
    Raises UserError for an unknown name, an unreadable file, and a key that is unknown or out of range.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = CONFIGS / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
            hint = f"; there are {known}" if known else ""
            raise UserError(f"There is no preset {str(name)!r}{hint}.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"Cannot read the preset {path}: {reason}.") from error
    except yaml.YAMLError as error:
        raise UserError(f"The preset {path} is not YAML: {' '.join(str(error).split())}.") from error
    return validate(values or {}, kind, path)


def validate(values: object, kind: type[Preset], source: str | Path) -> Preset:
    """`values` as a `kind`. Raises UserError that names the source and the first wrong key."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole"
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{source}: {key}: {reason[:1].lower()}{reason[1:].rstrip('.')}.") from error
