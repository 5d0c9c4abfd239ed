"""Pretrained checkpoints as sources: what a folder or an id of the hub holds, and how it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import UserError
from core.pretrained.hub import checkpoint_kind, resolve_checkpoint
from video.model_reference import ModelReference
from video.options import ClipOptions
from video.pipelines.families import ANIMATEDIFF, Family, find_family

if TYPE_CHECKING:
    import torch

    from video.clip_model import ClipModel


class CheckpointReference:
    """A checkpoint in diffusers' format: a video model, or an image model for a motion adapter."""

    bundled = False

    def __init__(self, name: str, of: Family) -> None:
        """name: of the folder, or an id of the hub."""
        self.name = name
        self.family = of
        self.preset = of.preset

    def check(self, options: ClipOptions) -> None:
        """Raises UserError for options that the checkpoint's family does not support."""
        if self.family.title == ANIMATEDIFF:
            self._check_motion(options)
        self.family.check(options)

    def _check_motion(self, options: ClipOptions) -> None:
        if not options.motion:
            raise UserError(
                f"{self.name} is an image model: give an AnimateDiff adapter with --motion, or none for "
                "frames that have nothing to do with each other."
            )
        if options.offload == "layers":
            raise UserError(f"{self.family.title} cannot apply --offload layers: give --offload model.")

    def open(self, options: ClipOptions, device: torch.device, force: bool) -> ClipModel:
        """The model, downloaded and loaded. Raises UserError when its estimated memory is not free."""
        from video.pipelines.animated_model import load_animatediff
        from video.pipelines.estimate import check_memory
        from video.pipelines.load import load_pipeline

        check_offload(options, device)
        folder = resolve_checkpoint(self.name)
        load = load_animatediff if self.family.title == ANIMATEDIFF else load_pipeline
        cost = None if force else check_memory(folder, self.family, options, device)
        model = load(folder, self.family, options, device)
        model.record.expected = cost
        return model


def checkpoint_reference(name: str) -> ModelReference:
    """The source of a diffusers folder or an id of the hub, whose configs alone are fetched.

    Raises UserError for what gen-video cannot draw with.
    """
    folder = resolve_checkpoint(name, weights=False)
    found = find_family(folder)
    if found is None:
        raise UserError(
            f"{name} is of the kind {checkpoint_kind(folder)}, which gen-video cannot draw with: "
            "it knows Wan, LTX, CogVideoX, ModelScope, and Stable Diffusion 1.x and XL with --motion."
        )
    return CheckpointReference(name, found)


def check_offload(options: ClipOptions, device: torch.device) -> None:
    """Raises UserError for --offload where there is nothing to move between."""
    if options.offload and device.type == "cpu":
        raise UserError(
            "--offload moves weights between the GPU and the memory of the CPU: leave it out here."
        )
