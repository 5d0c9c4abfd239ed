"""Motion layers of an image checkpoint to be trained, with the image layers frozen, and their file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.io.weights import load_weights
from core.pretrained.hub import checkpoint_kind, resolve_checkpoint, scheduler_config
from core.pretrained.network import DiffusersUNet
from core.pretrained.trainable import TrainableImageModel, load_parts
from video.animatediff.inflated_unet import InflatedUNet, fresh_config
from video.animatediff.motion_format import MotionConfig, MotionFile, read_motion, write_motion
from video.animatediff.motion_layers import MotionLayers
from video.animatediff.motion_model import load_motion_layers, motion_sampling
from video.sampling.clip_tensors import frame_by_frame

PREFIX = "motion."  # of the motion layers' names in an inflated U-Net


class TrainableMotion(TrainableImageModel):
    """Motion layers of Stable Diffusion 1.x or SDXL, at AnimateDiff's noise schedule.

    One noise level holds for all frames of a clip (Guo et al. 2023, section 4.2, equation 3). The layers are
    float32 beside image layers of any dtype.
    """

    def __init__(self, folder: Path, motion: str | None, recompute: bool = True) -> None:
        """motion: adapter to start from, as in `load_motion_layers`; None gives new layers.

        recompute: as in `InflatedUNet`. Raises UserError as the base class does.
        """
        super().__init__(folder, recompute)
        self.motion = motion

    def check(self, width: int, height: int, frames: int) -> None:
        """Raises UserError for sizes that are no multiple of the first stage's, and for too many frames."""
        super().check(width, height, frames)
        config = read_motion(resolve_checkpoint(self.motion)).config if self.motion else MotionConfig()
        if frames > config.motion_max_seq_length:
            raise UserError(
                f"The motion layers take at most {config.motion_max_seq_length} frames, not {frames}: change "
                "frames in the preset."
            )

    def load_first_stage(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """The autoencoder in float32, frame by frame: latents (N,C,F,h,w) of clips (N,3,F,H,W)."""
        encode = super().load_first_stage(device)
        return lambda clips: frame_by_frame(encode, clips)

    def load_denoiser(self, device: torch.device, dtype: torch.dtype, shape: Sequence[int]) -> Denoiser:
        """The inflated U-Net, of which only the motion layers require a gradient."""
        unet = load_parts(self.folder, ["unet"], dtype).unet.to(device).requires_grad_(False)
        layers = load_motion_layers(unet, self.motion) if self.motion else MotionLayers(fresh_config(unet))
        network = InflatedUNet(
            DiffusersUNet(unet, self.downscale), unet, layers.to(device), recompute=self.recompute
        )
        sampling = motion_sampling(checkpoint_kind(self.folder), scheduler_config(self.folder))
        return Denoiser(network, sampling.schedule, sampling.parameterization)


def save_motion(folder: Path, config: MotionConfig, weights: Mapping[str, Tensor], source: Path) -> None:
    """Writes trained motion layers in float16, for diffusers' `MotionAdapter` and `load_motion_layers`.

    weights: the parameters, under their names in an `InflatedUNet`. source: named where they do not fit.
    """
    layers = MotionLayers(config)
    parameters = {name.removeprefix(PREFIX): weight for name, weight in weights.items()}
    # The tables of positions are no parameters.
    load_weights(layers, {**layers.state_dict(), **parameters}, source)
    write_motion(folder, MotionFile(config, layers.half().state_dict()))
