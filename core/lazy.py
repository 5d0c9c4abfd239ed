"""Lazy exports of a package (PEP 562): importing the package imports none of its modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(
    package: str, exports: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package; exports: public name -> module that defines it."""

    def __getattr__(name: str) -> Any:  # noqa: N807  (PEP 562)
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(exports[name]), name)

    def __dir__() -> list[str]:  # noqa: N807  (PEP 562)
        return sorted(exports)

    return __getattr__, __dir__
