"""The tensors in an image model's folder: the network's, and its first stage's, which another may hold.

A folder may hold low-rank changes alone, of the network in its base.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from core.errors import UserError
from core.io.base_model import CONFIG, Base, stored_sha256
from core.io.presets import validate
from core.io.weights import (
    WEIGHTS,
    ModelFolder,
    NoInitialization,
    load_folder,
    load_weights,
    save_folder,
)
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.nn.lora import LoRANetwork, add_changes

RANK = "rank"  # in the config of a folder that holds low-rank changes of its base
FIRST_STAGE_PREFIX = "first_stage."  # before the names of its weights in a model's folder


def load_image_folder(folder: Path) -> ModelFolder:
    """Contents of an image model's folder, with the weights that it leaves to its base, if any.

    Raises UserError when one of the folders is missing, damaged, or not what it was.
    """
    stored = load_folder(folder)
    config = dict(stored.config)
    base, rank = config.pop("base", None), config.pop(RANK, None)
    if not base:
        return stored
    below = validate(base, Base, folder / CONFIG).read(folder, load_image_folder).tensors
    if rank:
        try:
            tensors = add_changes(below, stored.tensors)
        except (KeyError, RuntimeError) as error:
            raise UserError(f"The changes in {folder / WEIGHTS} are of another network.") from error
    else:
        first_stage = {name: value for name, value in below.items() if name.startswith(FIRST_STAGE_PREFIX)}
        tensors = first_stage | stored.tensors
    return stored._replace(config=config, tensors=tensors)


def load_network(folder: Path, base: Path) -> ModelFolder | None:
    """A network whose folder leaves its first stage, and no more, to the image model in `base`.

    None for every other folder. The model in `base` has been loaded: it is not read again.

    Raises UserError when the folder is missing or damaged.
    """
    stored = load_folder(folder)
    config = dict(stored.config)
    below = config.pop("base", None)
    if not below or RANK in config:
        return None
    named = validate(below, Base, folder / CONFIG)
    same = named.path(folder).resolve() == base.resolve() and named.sha256 == stored_sha256(base)
    return stored._replace(config=config) if same else None


def save_low_rank(
    folder: Path, config: Mapping[str, Any], changed: LoRANetwork, base: Path, int8: bool = False
) -> None:
    """Writes an image model's folder that holds what `changed` adds to the network of the model in `base`.

    config: of the changed model, as JSON; int8: as in `save_folder`. Raises UserError when the folder is not
    writable.
    """
    rank = max(len(down) for down in changed.down)
    below = Base.of(base, folder, load_folder(base).sha256).model_dump()
    save_folder(folder, {**config, RANK: rank, "base": below}, changed.changes(), int8)


def first_stage_state(first_stage: Autoencoder | None) -> dict[str, Tensor]:
    """Weights of a first stage by their names in a model's folder; empty for None."""
    weights = first_stage.state_dict() if first_stage else {}
    return {FIRST_STAGE_PREFIX + name: value for name, value in weights.items()}


def split_first_stage(
    config: AutoencoderConfig | None, tensors: Mapping[str, Tensor], folder: Path
) -> tuple[dict[str, Tensor], Autoencoder | None]:
    """Splits the tensors of a model's folder into the network's and the first stage of this config."""
    network = {name: value for name, value in tensors.items() if not name.startswith(FIRST_STAGE_PREFIX)}
    if not config:
        return dict(tensors), None
    weights = {n.removeprefix(FIRST_STAGE_PREFIX): value for n, value in tensors.items() if n not in network}
    with NoInitialization():
        first_stage = Autoencoder(config)
    load_weights(first_stage, weights, folder, assign=True)
    return network, first_stage.eval().requires_grad_(False)
