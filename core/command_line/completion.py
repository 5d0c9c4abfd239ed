"""Values that the shell completes after an option. They are looked up when a key is pressed: no torch."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel

Values = Callable[[], Iterable[str]]
"""The values of an option."""


def choices_of(options: type[BaseModel]) -> dict[str, Values]:
    """The values of all fields that have a few names as values, by the name of the field."""
    found = {name: _names(field.annotation) for name, field in options.model_fields.items()}
    return {name: _values(names) for name, names in found.items() if names}


def preset_names(folder: str) -> Values:
    """The presets in a folder of configs/."""

    def names() -> Iterable[str]:
        from core.io.presets import CONFIGS

        return sorted(path.stem for path in (CONFIGS / folder).glob("*.yaml"))

    return names


def devices() -> Iterable[str]:
    """Names of devices."""
    return "auto", "cpu", "cuda"


def completion(values: Values) -> Callable[[str], list[str]]:
    """What typer calls to complete an option."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values() if value.startswith(incomplete)]

    return complete


def _values(names: tuple[str, ...]) -> Values:
    return lambda: names


def _names(annotation: Any) -> tuple[str, ...]:
    """The texts of a Literal, which may be optional; none of another annotation."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return tuple(part for part in parts if isinstance(part, str))
    if origin in (Union, types.UnionType, Annotated):
        return next(filter(None, map(_names, parts)), ())
    return ()
