"""Pretrained checkpoints as sources: what a folder or an id of the hub holds, and how it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import UserError
from core.pictures import read_picture
from core.pretrained.hub import kind, located
from video.options import ClipOptions
from video.pretrained.families import Family, family
from video.source import Source

if TYPE_CHECKING:
    import torch

    from video.clip_model import ClipModel


class PipelineSource:
    """A video model that runs through its pipeline of diffusers."""

    bundled = False

    def __init__(self, name: str, of: Family) -> None:
        """name: of the folder, or an id of the hub."""
        self.name = name
        self.family = of
        self.preset = of.preset

    def check(self, options: ClipOptions) -> None:
        self.family.check(options)
        if options.image:
            read_picture(options.image)

    def open(self, options: ClipOptions, device: torch.device, force: bool) -> ClipModel:
        from video.pretrained.estimate import check_memory
        from video.pretrained.load import load_pipeline

        check_offload(options, device)
        folder = located(self.name)
        if not force:
            check_memory(folder, self.family, options, device)
        return load_pipeline(folder, self.family, options, device)


def pretrained_source(name: str) -> Source:
    """The source of a diffusers folder or an id of the hub, whose configs alone are fetched.

    Raises UserError for what gen-video cannot draw with.
    """
    folder = located(name, weights=False)
    found = family(folder)
    if found is None:
        raise UserError(
            f"{name} is a {kind(folder)}, which gen-video cannot draw with: it knows Wan, LTX, CogVideoX and "
            "ModelScope, and Stable Diffusion with --motion."
        )
    return PipelineSource(name, found)


def check_offload(options: ClipOptions, device: torch.device) -> None:
    """Raises UserError for --offload where there is nothing to move between."""
    if options.offload and device.type == "cpu":
        raise UserError(
            "--offload moves weights between the GPU and the memory of the CPU: leave it out here."
        )
