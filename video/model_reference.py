"""References to models whose weights are not loaded yet. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.bundled import BUNDLED, model_beside
from video.options import ClipOptions, refuse_options
from video.plan import FRAME_RATE

if TYPE_CHECKING:
    import torch

    from video.clip_model import ClipModel

BUNDLED_MODEL = BUNDLED / "video"


class ModelReference(Protocol):
    """A reference to a clip model whose weights are not loaded yet."""

    preset: str  # the name in configs/gen-video that fits the model
    bundled: bool
    frame_rate: float | None  # frames a second of its motion; None: that of the clip

    def check(self, options: ClipOptions) -> None:
        """Raises UserError for the first option that this model cannot apply."""
        ...

    def open(self, options: ClipOptions, device: torch.device, force: bool) -> ClipModel:
        """Loads the model. force: even if the estimate exceeds the free memory.

        Raises UserError for weights that are missing or damaged, and for too little memory.
        """
        ...


class NativeModelReference:
    """A folder with a video model in this project's format."""

    preset = "standard"
    frame_rate = FRAME_RATE

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundled = folder == BUNDLED_MODEL
        self.title = "The bundled model" if self.bundled else f"The model in {folder}"
        self.super_resolution = model_beside(folder, "super_resolution")
        self.interpolation = model_beside(folder, "interpolation")
        self.distilled = model_beside(folder, "distilled")

    def check(self, options: ClipOptions) -> None:
        """Raises UserError for options that the model cannot apply, see `REFUSED`."""
        refuse_options(self.title, REFUSED, options)
        if not self.distilled:
            refuse_options(self.title, {"tier": "no distilled model lies beside its folder"}, options)
        if not self.super_resolution:
            refuse_options(self.title, {"super_resolution": "no such model lies beside its folder"}, options)

    def open(self, options: ClipOptions, device: torch.device, force: bool) -> ClipModel:
        """The model, loaded from its folder; see `ModelReference`."""
        from video.clip_model import NativeClipModel

        return NativeClipModel(
            self.folder,
            device,
            self.super_resolution,
            self.interpolation,
            self.distilled if options.tier else None,
        )


REFUSED = {
    "motion": "it moves by itself, and motion adapters are for image models",
    "lora": "it has no LoRA weights",
    "dtype": "it runs in float32",
    "offload": "it is small enough to stay on its device",
    "tiling": "it decodes frames whole",
    "width": "its clips have one size, see --scale",
    "height": "its clips have one size, see --scale",
}
