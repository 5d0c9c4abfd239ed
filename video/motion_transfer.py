"""An image model that moves by the temporal layers of the bundled video model.

Temporal layers that were trained on one image model move what was trained further from it (Guo et al. 2023,
"AnimateDiff", section 4): a model of one's own pictures becomes a video model without a clip.
"""

from __future__ import annotations

from pathlib import Path

import torch

from core.bundled import BUNDLED_VIDEO
from core.errors import UserError
from core.io.base_model import CONFIG
from core.io.presets import validate
from core.io.weights import load_folder, load_weights
from core.models.image_model import load_denoiser, read_image_model
from video.video_model import VideoModel, VideoModelConfig

PREFIX = "temporal."  # of the names of temporal layers in a video model


def load_moving(folder: Path, device: str | torch.device = "cpu") -> VideoModel:
    """The video model in a folder, or the image model there with the bundled temporal layers.

    Raises UserError as `VideoModel.load`, and for an image model of another architecture than the bundled.
    """
    if VideoModel.exists_at(folder) or not is_image_model(folder):
        return VideoModel.load(folder, device)
    image, tensors, first_stage = read_image_model(folder)
    stored = load_folder(BUNDLED_VIDEO)
    bundled = validate(stored.config.get("model"), VideoModelConfig, BUNDLED_VIDEO / CONFIG)
    if (image.network, image.shape) != (bundled.image.network, bundled.image.shape):
        raise UserError(
            f"The model in {folder} draws images, and only models trained from the bundled one move by its "
            "temporal layers: train a video model with dreamlift train video."
        )
    config = bundled.model_copy(update={"image": image})
    denoiser = config.inflate(load_denoiser(image, tensors, folder))
    layers = {name: value for name, value in stored.tensors.items() if name.startswith(PREFIX)}
    own = {name: v for name, v in denoiser.network.state_dict().items() if not name.startswith(PREFIX)}
    load_weights(denoiser.network, own | layers, BUNDLED_VIDEO)
    return VideoModel(config, denoiser.to(device), first_stage=first_stage)


def is_image_model(folder: Path) -> bool:
    """Whether a folder holds an image model, by its config."""
    try:
        return "network" in load_folder(folder).config
    except UserError:
        return False  # which the loading of the model reports
