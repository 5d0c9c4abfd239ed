"""Presets: YAML files that are read into typed objects. Errors name the file and the key. No torch import."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from core.errors import UserError
from core.io.paths import read_path
from core.io.values import check_value, shortened

Preset = TypeVar("Preset", bound=BaseModel)

_INSTALLED = Path(__file__).parents[1] / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "configs"


def load_preset(name: str | Path, kind: type[Preset], family: str = "") -> Preset:
    """A preset, validated as `kind`.

    name: a path that ends in .yaml or .yml, or a name within `CONFIGS`, such as "bundled-image".
    family: the folder in `CONFIGS` that such names are from, such as "gen-video".

    Raises UserError for an unknown name, an unreadable file, and a key that is unknown or out of range.
    """
    from core.io.files.yaml_file import read_yaml  # PyYAML is not loaded for --help

    path = read_path(name, "the preset")
    if path.suffix not in (".yaml", ".yml"):
        path = CONFIGS / family / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
            hint = f"; there are {known}" if known else ""
            raise UserError(f"There is no preset {str(Path(family, name))!r}{hint}.")
    return validate(read_yaml(path, "the preset"), kind, path)


def validate(values: object, kind: type[Preset], source: str | Path) -> Preset:
    """`values` validated as `kind`. Raises UserError that names the source and the first invalid key.

    Numbers must be finite, and texts pass `core.io.values.check_text`.
    """
    check_value(values, str(source))
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = shortened(".".join(str(part) for part in first["loc"]) or "the settings")
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{source}: {key}: {reason[:1].lower()}{reason[1:].rstrip('.')}.") from error
