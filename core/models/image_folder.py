"""The tensors in an image model's folder: the network's, and its first stage's, which another may hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from core.io.presets import validate
from core.io.weights import CONFIG, Base, ModelFolder, load_folder, load_weights
from core.models.autoencoder import Autoencoder, AutoencoderConfig

FIRST_STAGE_PREFIX = "first_stage."  # before the names of its weights in a model's folder


def load_image_folder(folder: Path) -> ModelFolder:
    """Contents of an image model's folder, with the first stage that it leaves to its base, if any.

    Raises UserError when one of the folders is missing, damaged, or not what it was.
    """
    stored = load_folder(folder)
    config = dict(stored.config)
    base = config.pop("base", None)
    if not base:
        return stored
    below = validate(base, Base, folder / CONFIG).read(folder, load_folder).tensors
    first_stage = {name: value for name, value in below.items() if name.startswith(FIRST_STAGE_PREFIX)}
    return stored._replace(config=config, tensors=first_stage | stored.tensors)


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
    first_stage = Autoencoder(config)
    load_weights(first_stage, weights, folder)
    return network, first_stage.eval().requires_grad_(False)
