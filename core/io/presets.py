"""Presets: YAML files that are read into typed objects. Errors name the file and the key. No torch import."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from core.errors import UserError

Preset = TypeVar("Preset", bound=BaseModel)

_INSTALLED = Path(__file__).parents[1] / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "configs"


def load_preset(name: str | Path, kind: type[Preset]) -> Preset:
    """A preset, validated as `kind`.

    name: a path that ends in .yaml or .yml, or a name within `CONFIGS`, such as "bundled-image" or
        "gen-video/draft".

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
        raise UserError(f"The preset {path} is not valid YAML: {' '.join(str(error).split())}.") from error
    return validate(values or {}, kind, path)


def validate(values: object, kind: type[Preset], source: str | Path) -> Preset:
    """`values` validated as `kind`. Raises UserError that names the source and the first invalid key."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the settings"
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{source}: {key}: {reason[:1].lower()}{reason[1:].rstrip('.')}.") from error
