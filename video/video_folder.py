"""Folders of video models: the config, and the weights that are not those of the image model below.

A folder with an image model serves too: the temporal layers of the bundled video model then move it. Layers
that were trained on one image model move those that were trained further from it (Guo et al. 2023,
"AnimateDiff", section 4), so a model of one's own pictures becomes a video model without a clip.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from core.bundled import BUNDLED_VIDEO
from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.io.base_model import CONFIG, Base
from core.io.presets import validate
from core.io.weights import load_folder, save_folder
from core.models.image_folder import FIRST_STAGE_PREFIX, load_image_folder
from core.models.image_model import ImageModelConfig
from video.nn.space_time_unet import inflate
from video.nn.temporal import TemporalConfig

TEMPORAL_PREFIX = "temporal."  # before the names of the temporal layers' weights


class VideoModelConfig(BaseModel):
    """Everything that makes a video model but its weights: the `config.json` of its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: ImageModelConfig
    temporal: TemporalConfig = TemporalConfig()
    noise_share: float = Field(
        default=0.5, ge=0, lt=1, description="of the noise's variance, in all frames alike"
    )
    loop: int = Field(default=16, ge=1, description="frames of one loop of an action")
    window: int = Field(
        default=16, ge=2, description="frames of a training clip: longer ones are sampled in windows"
    )

    def inflate(self, image: Denoiser) -> Denoiser:
        """The denoiser of clips that starts as `image`, frame by frame; it holds image's network itself."""
        network = inflate(image.network, self.temporal)  # pyright: ignore[reportArgumentType]
        return image.with_network(network)

    def denoiser(self) -> Denoiser:
        """A denoiser of clips with a fresh network."""
        return self.inflate(self.image.denoiser())


class VideoFolder(NamedTuple):
    """Contents of a video model's folder."""

    config: VideoModelConfig
    tensors: dict[str, Tensor]  # float32, by their names in a video model; with the first stage's
    image: Path  # folder of the image model below, or the video model's own


def read_video_folder(folder: Path) -> VideoFolder:
    """Contents of a video model's folder, or of an image model's with the bundled temporal layers.

    Raises UserError when a folder is missing or damaged, and for an image model of another architecture than
    the bundled one.
    """
    stored = load_folder(folder)
    if "network" in stored.config:  # an image model's
        return _moved(folder)
    config = validate(stored.config.get("model"), VideoModelConfig, folder / CONFIG)
    if not stored.config.get("base"):
        return VideoFolder(config, stored.tensors, folder)
    base = validate(stored.config["base"], Base, folder / CONFIG)
    below = _below(base.read(folder, load_image_folder).tensors)
    return VideoFolder(config, below | stored.tensors, base.path(folder))


def save_video_folder(
    folder: Path, config: VideoModelConfig, tensors: Mapping[str, Tensor], base: Path | None
) -> None:
    """Writes config.json and model.safetensors (float16).

    base: folder of an image model; weights that equal its own are left out. Raises UserError when it is not a
    model.
    """
    content: dict[str, Any] = {"model": config.model_dump(mode="json"), "base": None}
    if base:
        stored = load_image_folder(base)
        below = _below(stored.tensors)
        tensors = {
            name: value
            for name, value in tensors.items()
            if name not in below or not torch.equal(value.cpu().half(), below[name].half())
        }
        content["base"] = Base.of(base, folder, stored.sha256).model_dump()
    save_folder(folder, content, tensors)


def holds_video_model(folder: Path) -> bool:
    """Whether a folder holds a video model, by its config; not whether it is whole."""
    try:
        return "temporal" in json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _moved(folder: Path) -> VideoFolder:
    """The image model in a folder with the bundled temporal layers."""
    stored, bundled = load_image_folder(folder), load_folder(BUNDLED_VIDEO)
    image = validate(stored.config, ImageModelConfig, folder / CONFIG)
    config = validate(bundled.config.get("model"), VideoModelConfig, BUNDLED_VIDEO / CONFIG)
    if (image.network, image.shape) != (config.image.network, config.image.shape):
        raise UserError(
            f"The model in {folder} draws images, and only models trained from the bundled one move by its "
            "temporal layers: train a video model with dreamlift train video."
        )
    layers = {name: value for name, value in bundled.tensors.items() if name.startswith(TEMPORAL_PREFIX)}
    return VideoFolder(config.model_copy(update={"image": image}), _below(stored.tensors) | layers, folder)


def _below(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an image model's folder by the names they have in a video model's."""
    return {
        name if name.startswith(FIRST_STAGE_PREFIX) else f"image.{name}": t for name, t in tensors.items()
    }
