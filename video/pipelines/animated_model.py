"""AnimateDiff clip models: image checkpoints with a motion adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from core.pretrained.hub import checkpoint_kind
from core.pretrained.quiet import quieten
from core.pretrained.weights import digests, sha256
from core.sampling import StepCallback
from video.animatediff.motion_format import motion_files
from video.animatediff.motion_model import MotionModel, load_motion_model
from video.clip_model import read_picture
from video.options import ClipOptions, ClipRequest
from video.pipelines.families import Family
from video.pipelines.load import lora_digests, precision
from video.pipelines.pipelines import STILLS
from video.record import CheckpointRecord


class AnimateDiffClipModel:
    """Adapter from `MotionModel` to the clip-model interface."""

    keeps_latents = True

    def __init__(self, model: MotionModel, family: Family, record: CheckpointRecord) -> None:
        """family: supplies the default resolution. record: written to the run's metadata."""
        self.model = model
        self.family = family
        self.record = record

    def group(self, prompt: str, options: ClipOptions) -> str | None:
        """The options."""
        return options.of_sampling()

    def read(self, prompt: str) -> str:
        """The part of a prompt that the text encoder takes; see `ClipModel`."""
        return self.model.image.read(prompt)

    def sample(self, requests: Sequence[ClipRequest], on_step: StepCallback) -> Tensor:
        """Clips (B,3,F,H,W) in [-1, 1] of one group; see `ClipModel`."""
        common = requests[0].options
        width, height = self.family.resolution(common)
        return self.model.sample(
            [request.prompt for request in requests],
            frames=common.frames,
            steps=common.steps,
            guidance=common.guidance,
            negative=common.negative,
            sampler=common.sampler,
            eta=common.eta,
            guidance_interval=common.guidance_interval,
            guidance_rescale=common.guidance_rescale,
            seeds=[request.seed for request in requests],
            size=(height, width),
            image=read_picture(common.image, width, height, common.background_color)
            if common.image
            else None,
            on_step=on_step,
        )

    def decode(self, x: Tensor) -> Tensor:
        """Clips (B,3,F,H,W) in [-1, 1] decoded from latents (B,C,F,h,w)."""
        return self.model.decode(x)

    def preview_frames(self, x: Tensor) -> Tensor:
        """Up to `STILLS` decoded frames (B,3,F',H,W), evenly spaced over the clip."""
        indices = torch.linspace(0, x.shape[2] - 1, min(STILLS, x.shape[2])).round().int()
        return self.model.decode(x[:, :, indices.to(x.device)])


def load_animatediff(
    folder: Path, family: Family, options: ClipOptions, device: torch.device
) -> AnimateDiffClipModel:
    """AnimateDiff model of an image checkpoint, with adapter, dtype, LoRA, offload and tiling of the options.

    Raises UserError when weights are missing or damaged, or when adapter and checkpoint do not match.
    """
    quieten()
    assert options.motion
    dtype = precision(options, device)
    model = load_motion_model(
        folder,
        options.motion,
        device=device,
        dtype=dtype,
        lora=options.lora,
        offload=options.offload is not None,
    )
    if options.tiling:
        model.image.pipeline.vae.enable_tiling()
    record = CheckpointRecord(
        folder=str(folder),
        pipeline=checkpoint_kind(folder),
        dtype=str(dtype).removeprefix("torch."),
        sha256=digests(folder)
        | {f"motion/{file.name}": sha256(file) for file in motion_files(options.motion)}
        | lora_digests(options.lora),
    )
    return AnimateDiffClipModel(model, family, record)
