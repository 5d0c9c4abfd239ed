"""Models that --model can name: those that ship, those of presets and of configs/hub.yaml, and cached ones.

Commands import it when they start, so that it imports little, and no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from core.bundled import BUNDLED_NAME, OTHERS

INDEX = "model_index.json"  # of diffusers' pipelines
SHIPS, CACHED, ONLINE = "ships with dreamlift", "in the cache", "on the hub, fetched when it is first used"


class KnownModel(NamedTuple):
    """A model by its name for --model."""

    name: str
    state: str  # where it is
    note: str = ""


def known_models(presets: str | None = None) -> list[KnownModel]:
    """All models that are known, each once. presets: folder of the presets whose models are among them."""
    from core.io.files.yaml_file import read_yaml
    from core.io.presets import CONFIGS

    hub: Any = read_yaml(CONFIGS / "hub.yaml", "the names of models")
    names: dict[str, str] = hub["names"]
    listed = [KnownModel(name, SHIPS) for name in (BUNDLED_NAME, *OTHERS)]
    listed += [KnownModel(name, _state(model), model) for name, model in names.items()]
    seen = {*names.values()}
    for name, model in _of_presets(presets) if presets else ():
        if model not in seen:
            listed.append(KnownModel(model, _state(model), f"with --preset {name}"))
            seen.add(model)
    return listed + [KnownModel(model, CACHED) for model in cached_models() if model not in seen]


def model_names(presets: str | None = None) -> list[str]:
    """The names of them."""
    return [model.name for model in known_models(presets)]


def print_models(presets: str | None = None) -> None:
    """Prints a table of them."""
    from rich.table import Table

    from core.command_line.printing import make_console, print_table

    table = Table("--model", "where", "", box=None)
    for model in known_models(presets):
        table.add_row(*model)
    print_table(make_console(), table)


def cached_models() -> list[str]:
    """Ids of the pipelines in the hub's cache on this machine."""
    from huggingface_hub.constants import HF_HUB_CACHE

    found = Path(HF_HUB_CACHE).glob(f"models--*--*/snapshots/*/{INDEX}")
    return sorted({path.parents[2].name.removeprefix("models--").replace("--", "/", 1) for path in found})


def _state(model: str) -> str:
    return CACHED if model in cached_models() else ONLINE


def _of_presets(folder: str) -> Iterator[tuple[str, str]]:
    """Names of presets, and the models that they name."""
    from core.io.files.yaml_file import read_yaml
    from core.io.presets import CONFIGS

    for path in sorted((CONFIGS / folder).glob("*.yaml")):
        values = read_yaml(path, "the preset")
        if isinstance(values, dict) and isinstance(model := values.get("model"), str):
            yield path.stem, model
