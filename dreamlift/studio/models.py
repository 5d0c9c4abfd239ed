"""Models that stay loaded between jobs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Model = TypeVar("Model")


class LoadedModels:
    """The last model of each kind. A large one is alone: two might not fit into the memory."""

    def __init__(self) -> None:
        self._loaded: dict[str, tuple[Hashable, bool, Any]] = {}

    def get(self, kind: str, key: Hashable, large: bool, load: Callable[[], Model]) -> Model:
        """The model of a kind that is loaded under a key, or the one that `load` returns."""
        if kind in self._loaded and self._loaded[kind][0] == key:
            return self._loaded[kind][2]
        self._loaded.pop(kind, None)
        if large or any(other for _, other, _ in self._loaded.values()):
            self._loaded.clear()
        model = load()
        self._loaded[kind] = key, large, model
        return model
