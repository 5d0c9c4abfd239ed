"""Resolves checkpoints: local folders, or Hugging Face ids, which are downloaded once to the hub's cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from core.errors import UserError
from core.io.files.record import sha256_of
from core.io.paths import read_path
from core.io.presets import load_preset
from core.pretrained.reading import first_line, read_config

INDEX = "model_index.json"  # index of a diffusers pipeline
CONFIG, WEIGHTS = (
    "config.json",
    "model.safetensors",
)  # the names of `core.io.weights`, which is not imported because it imports torch
NATIVE = "dreamlift"  # the kind of a folder written by `core.io.weights.save_folder`

FILES: list[str] = ["*.json", "*.txt", "*.model", "*.safetensors"]  # no pickles
VARIANTS = ["*.fp16*", "*.bf16*", "*non_ema*"]  # other copies of the same weights
HALVES = ("fp16", "bf16")  # of them, those that are fetched of a part that has no other
UNUSED = ("safety_checker", "watermarker")


class HubNames(BaseModel):
    """configs/hub.yaml: short names of checkpoints, and mirrors of checkpoints that were removed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: dict[str, str]
    moved: dict[str, str]

    def resolve(self, name: str) -> str:
        """The current id for a short name or a removed id; other names are returned unchanged."""
        name = self.names.get(name, name)
        return self.moved.get(name, name)


def is_hub_name(name: str) -> bool:
    """Whether a name is a short name or OWNER/NAME of the hub, and not an existing folder or file."""
    known = name in load_preset("hub", HubNames).names
    named = known or (name.count("/") == 1 and not name.startswith((".", "/", "~")))
    return named and not os.path.exists(name)


def resolve_checkpoint(name_or_folder: str | Path, weights: bool = True) -> Path:
    """Local path of a checkpoint: an existing folder or file itself, or the snapshot of a Hugging Face id.

    OWNER/NAME/FILE.safetensors is one file of a repository that has several, such as LoRA weights.

    An id is downloaded to the hub's cache: for a pipeline the parts that its index lists, safetensors only.
    With HF_HUB_OFFLINE=1, or without a network, it must be in the cache already. `HubNames` lists short names
    and replaced ids.

    weights: False downloads the configs only.

    Raises UserError when folder or id do not exist, or when the id is gated or cannot be reached.
    """
    path = read_path(name_or_folder, "the model")
    if os.path.exists(path):
        return path
    name = load_preset("hub", HubNames).resolve(str(name_or_folder))
    owner, _, rest = name.partition("/")
    repository, _, file = rest.partition("/")
    one = not file or (file.endswith(".safetensors") and ".." not in file.split("/"))
    if path.is_absolute() or name.startswith((".", "~")) or not (repository and one):
        raise UserError(
            f"There is no folder {name}: give an existing folder, or a model on the hub as owner/model."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    name = f"{owner}/{repository}"
    try:
        if file:
            return _one_file(Path(snapshot_download(name, allow_patterns=[file])), file, name)
        # The index comes first, because it lists the parts to download. Only pipelines have one.
        index = _index(Path(snapshot_download(name, allow_patterns=[INDEX, CONFIG])))
        parts = [part for part in _parts(index) if part not in UNUSED]
        kinds = FILES if weights else ["*.json"]
        patterns = [INDEX, *(f"{part}/{kind}" for part in parts for kind in kinds)] if parts else kinds
        folder = Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=VARIANTS))
        for half in HALVES if weights else ():
            if lacking := [part for part in parts if _lacks_weights(folder / part)]:
                snapshot_download(name, allow_patterns=[f"{part}/*.{half}*.safetensors" for part in lacking])
        return folder
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
            f"{name} is not in the local cache, and {why}: run once online, or give a local folder."
        ) from error


def _one_file(folder: Path, file: str, name: str) -> Path:
    """A file of a downloaded repository. Raises UserError where it is not there."""
    if not (folder / file).is_file():
        raise UserError(
            f"{name} has no file {file} on the hub or in the local cache: check the name, or run once online."
        )
    return folder / file


def checkpoint_kind(folder: Path) -> str:
    """Class of the model in a folder, by its model_index.json or else its config.json.

    The latter is that of a single component, such as a MotionAdapter. Folders in this project's format give
    `NATIVE`. Raises UserError when it is none of these.
    """
    index = _index(folder)
    if folder.is_file():
        raise UserError(
            f"{folder} is a single file, and models are read from folders in diffusers' format: convert it "
            "once with from_single_file and save_pretrained of the pipeline in diffusers that it is for."
        )
    if "_class_name" in index:
        return str(index["_class_name"])
    config = _json(folder / CONFIG)
    if "_class_name" in config:
        return str(config["_class_name"])
    if "format" in config:
        return NATIVE
    raise UserError(
        f"{folder} is not a model folder: it has neither diffusers' {INDEX} nor a model's {CONFIG}."
    )


def scheduler_config(folder: Path) -> dict[str, Any]:
    """Config of the scheduler of a pipeline's folder; empty if it has none."""
    return _json(folder / "scheduler" / "scheduler_config.json")


def component_config(folder: Path, part: str) -> dict[str, Any]:
    """Config of a component of a pipeline's folder, such as "unet"; empty if it has none."""
    return _json(folder / part / CONFIG)


def _lacks_weights(part: Path) -> bool:
    """Whether a part is a network without weights: other parts have no config.json."""
    return (part / CONFIG).is_file() and not any(part.glob("*.safetensors"))


def _index(folder: Path) -> dict[str, Any]:
    """Values of the model_index.json; empty if there is none."""
    return _json(folder / INDEX)


def _parts(index: dict[str, Any]) -> list[str]:
    """Components that a pipeline's index lists and does not leave empty."""
    return [part for part, named in index.items() if isinstance(named, list) and any(named)]


def weights_sha256(folder: Path) -> str:
    """The sha256 of the network's weight files in sequence: a pipeline's U-Net, or a native model."""
    return sha256_of(*(sorted((folder / "unet").glob("*.safetensors")) or [folder / WEIGHTS]))


def component_names(folder: Path) -> list[str]:
    """Components of a pipeline's folder, such as "unet"; [] for other folders."""
    return _parts(_index(folder))


def component_classes(folder: Path) -> dict[str, tuple[str, str]]:
    """Library and class of each component of a pipeline's folder. Raises UserError unless they are names."""
    index = _index(folder)
    classes = {part: tuple(index[part]) for part in _parts(index)}
    for part, named in classes.items():
        if len(named) != 2 or not all(isinstance(name, str) for name in named):
            raise UserError(f"{folder / INDEX} is damaged (see {part}): download the checkpoint again.")
    return classes


def _json(path: Path) -> dict[str, Any]:
    """Object in a JSON file; empty if there is no file. Errors are those of `read_config`."""
    return read_config(path) if path.is_file() else {}
