"""Single modules of peers, without what their packages import for training."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module, util
from types import ModuleType
from typing import Any


def import_part(
    package: str, module: str, stand_ins: Mapping[str, Mapping[str, Any]] | None = None
) -> Any | None:
    """A module of a package whose own imports are left out; None if it, or what it needs, is not installed.

    stand_ins: modules that it imports and that the measured functions do not call, with the names that it
        takes from them. They are there during the import alone.
    """
    spec = util.find_spec(package)
    if spec is None:
        return None
    root = ModuleType(package)
    root.__path__ = list(spec.submodule_search_locations or [])
    replaced = {package: root, **{name: _module(name, names) for name, names in (stand_ins or {}).items()}}
    before = {name: sys.modules.get(name) for name in replaced}
    sys.modules.update(replaced)
    try:
        return import_module(f"{package}.{module}")
    except (ImportError, RuntimeError):
        return None
    finally:
        for name, former in before.items():
            if former is None:
                del sys.modules[name]
            else:
                sys.modules[name] = former


def _module(name: str, names: Mapping[str, Any]) -> ModuleType:
    """A module with these names."""
    module = ModuleType(name)
    module.__dict__.update(names)
    return module
