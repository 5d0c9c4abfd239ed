"""Where a checkpoint is: a local folder, or an id of the Hugging Face hub, fetched once into its cache."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from core.errors import UserError
from core.io.presets import load_preset

INDEX = "model_index.json"  # of diffusers
CONFIG, WEIGHTS = "config.json", "model.safetensors"  # as in `core.io.weights`, which would import torch
NATIVE = "dreamlift"  # the kind of a folder that `core.io.weights.save_folder` wrote

FILES: list[str] = ["*.json", "*.txt", "*.model", "*.safetensors"]  # nothing that would be unpickled
VARIANTS = ["*.fp16*", "*.bf16*", "*non_ema*"]  # second copies of the same weights
UNUSED = ("safety_checker", "watermarker")


class HubNames(BaseModel):
    """configs/hub.yaml: short names of checkpoints, and the mirrors of those that left the hub."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: dict[str, str]
    moved: dict[str, str]

    def resolve(self, name: str) -> str:
        """The id that a name or an id of old has today."""
        name = self.names.get(name, name)
        return self.moved.get(name, name)


def is_hub_name(name: str) -> bool:
    """Whether a name is one of the hub, short or OWNER/NAME, and not of a folder or file here."""
    known = name in load_preset("hub", HubNames).names
    return (known or (name.count("/") == 1 and not name.startswith((".", "/", "~")))) and not Path(
        name
    ).exists()


def resolve_checkpoint(name_or_folder: str | Path, weights: bool = True) -> Path:
    """The local path of a folder or file, which is returned as it is, or of an id's snapshot.

    An id is fetched into the hub's cache: of a pipeline what its index names, safetensors only. With
    HF_HUB_OFFLINE=1, or without a network, the cache must have it already. See `HubNames` for what names
    and ids lead elsewhere. weights: False fetches what describes the model and no more.

    Raises UserError, with what to do, when folder or id do not exist, the id is gated or cannot be reached.
    """
    path = Path(name_or_folder).expanduser()
    if path.exists():
        return path
    name = load_preset("hub", HubNames).resolve(str(name_or_folder))
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise UserError(
            f"There is no folder {name}, and the name of a model on the hub looks like owner/model."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        # The index first, since it says what else is needed; other repositories have none.
        index = _index(Path(snapshot_download(name, allow_patterns=[INDEX, CONFIG])))
        parts = [part for part in _parts(index) if part not in UNUSED]
        needed = FILES if weights else ["*.json"]
        wanted = [INDEX, *(f"{part}/{files}" for part in parts for files in needed)] if parts else needed
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=VARIANTS))
    except GatedRepoError as error:
        raise UserError(
            f"{name} is gated: accept its terms on https://huggingface.co/{name}, then run `hf auth login`."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(
            f"There is no folder {name} and no public model of that name on the hub: check the name, or run "
            "`hf auth login` if it is private."
        ) from error
    except (OSError, ValueError) as error:  # no network, offline, a partial cache, a full disk
        offline = os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON")
        why = "HF_HUB_OFFLINE is set" if offline else f"the hub cannot be reached ({first_line(error)})"
        raise UserError(
            f"{name} is not in the local cache, and {why}: run once with a network, or give a local folder."
        ) from error


def checkpoint_kind(folder: Path) -> str:
    """Class name of the pipeline or component in a folder, or `OURS` for a model of this project.

    Read from model_index.json, else from config.json (a single component, such as a MotionAdapter).
    Raises UserError when neither names a class.
    """
    index = _index(folder)
    if "_class_name" in index:
        return str(index["_class_name"])
    config = _json(folder / CONFIG)
    if "_class_name" in config:
        return str(config["_class_name"])
    if "format" in config:
        return NATIVE
    raise UserError(
        f"{folder} is not a model's folder: it has neither diffusers' {INDEX} nor a {CONFIG} of our own."
    )


def scheduler_config(folder: Path) -> dict[str, Any]:
    """What a pipeline's folder says of its scheduler; empty where it has none."""
    return _json(folder / "scheduler" / "scheduler_config.json")


def _index(folder: Path) -> dict[str, Any]:
    return _json(folder / INDEX)


def _parts(index: dict[str, Any]) -> list[str]:
    """The components that a pipeline's index names and has."""
    return [part for part, named in index.items() if isinstance(named, list) and named[0]]


def weights_sha256(folder: Path) -> str:
    """Of the files with the network's weights, one after another: of a pipeline's U-Net, or of our own."""
    digest = sha256()
    for file in sorted((folder / "unet").glob("*.safetensors")) or [folder / WEIGHTS]:
        with file.open("rb") as data:
            while block := data.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()


def component_names(folder: Path) -> list[str]:
    """The components that a pipeline's folder has, such as "unet"; none of other folders."""
    return _parts(_index(folder))


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file. Raises UserError where it is no object."""
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged: it is not JSON.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged: it is not a JSON object.")
    return values


def first_line(error: Exception) -> str:
    """What went wrong, as a part of a sentence."""
    return str(error).strip().splitlines()[0].rstrip(".:") if str(error).strip() else type(error).__name__
