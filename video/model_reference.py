"""Models at rest: which one is asked for, and what it cannot do, before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.bundled import BUNDLED
from video.options import ClipOptions, refuse_options

if TYPE_CHECKING:
    import torch

    from video.clip_model import ClipModel

BUNDLED_MODEL = BUNDLED / "video"


class ModelReference(Protocol):
    """A model that gen-video can draw with, before its weights are read."""

    preset: str  # of configs/gen-video, that fits it
    bundled: bool

    def check(self, options: ClipOptions) -> None:
        """Raises UserError, one sentence, for the first option that this model cannot honour."""
        ...

    def open(self, options: ClipOptions, device: torch.device, force: bool) -> ClipModel:
        """The loaded model. force: even where memory will not do.

        Raises UserError for weights that are missing or damaged, and where memory will not do.
        """
        ...


class NativeModelReference:
    """A folder with a video model of our own."""

    preset = "standard"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundled = folder == BUNDLED_MODEL
        self.title = "The bundled model" if self.bundled else f"The model in {folder}"

    def check(self, options: ClipOptions) -> None:
        refuse_options(self.title, REFUSED, options)

    def open(self, options: ClipOptions, device: torch.device, force: bool) -> ClipModel:
        from video.clip_model import NativeClipModel

        return NativeClipModel(self.folder, device)


REFUSED = {
    "motion": "it moves by itself, and motion adapters are for image models",
    "lora": "it has no LoRA weights",
    "dtype": "it runs in float32",
    "offload": "it is small enough to stay on its device",
    "tiling": "it decodes frames whole",
    "width": "its clips have one size, see --scale",
    "height": "its clips have one size, see --scale",
}


def find_model(model: str | None) -> ModelReference:
    """The source that --model names: a folder of our own or of diffusers, or a name of the hub.

    None is the bundled model; of an id only the configs are fetched here. Raises UserError for what is no
    model to draw clips with.
    """
    if model is None:
        return NativeModelReference(BUNDLED_MODEL)
    from core.pretrained.hub import INDEX, is_hub_name

    if not is_hub_name(model) and not (Path(model) / INDEX).exists():
        return NativeModelReference(Path(model))  # which says what is wrong with it when it is opened
    from video.pipelines.checkpoint_reference import checkpoint_reference

    return checkpoint_reference(model)
