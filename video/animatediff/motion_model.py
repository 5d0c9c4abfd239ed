"""AnimateDiff: image checkpoints inflated to clip models by a motion adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.pretrained.first_stage import KLFirstStage
from core.pretrained.hub import resolve_checkpoint
from core.pretrained.image_model import (
    SDXL,
    STABLE_DIFFUSION,
    PretrainedImageModel,
    check_unguided,
    load_image_model,
)
from core.pretrained.network import DiffusersUNet
from core.pretrained.sampling import CheckpointSampler
from core.samplers import noise_like
from core.sampling import StepCallback, make_generators
from core.sampling_options import SamplerName, SamplingOptions
from video.animatediff.inflated_unet import InflatedUNet, fresh_config
from video.animatediff.motion_format import MotionFile, read_motion, write_motion
from video.animatediff.motion_layers import MotionLayers
from video.animatediff.motion_lora import add_motion_lora, is_motion_lora
from video.nn.windows import OverlappingWindows
from video.sampling.reconstruction import keep_frames
from video.video_model import frame_by_frame

NONE = "none"  # instead of a motion adapter: newly initialized layers, with which frames are independent

# Noise schedules of AnimateDiff's training, which differ from the image models', by configs/inference of its
# code, for Stable Diffusion and for SDXL's beta. (diffusers' examples use the first for both.)
SCHEDULES = {
    STABLE_DIFFUSION: {"beta_schedule": "linear", "beta_start": 0.00085, "beta_end": 0.012},
    SDXL: {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.020},
}
TRAINED_FRAMES = 16  # frames per clip in the training of all AnimateDiff versions


class MotionModel:
    """Text-to-video model: an image checkpoint with a motion adapter."""

    def __init__(
        self, image: PretrainedImageModel, motion: MotionLayers, sampling: CheckpointSampler, overlap: int = 4
    ) -> None:
        """Hooks the motion layers into the U-Net of `image`, which no longer works as an image model.

        image: of Stable Diffusion or SDXL.
        sampling: with the noise schedule of the motion layers.
        overlap: frames that successive windows of long clips share.

        Raises UserError when the motion layers do not match the U-Net.
        """
        network = image.denoiser.network
        assert isinstance(network, DiffusersUNet)
        self.image, self.motion, self.sampling = image, motion, sampling
        self.device = image.device
        self.inflated = InflatedUNet(network, network.unet, motion)
        limit = motion.config.motion_max_seq_length
        size = min(TRAINED_FRAMES, limit)
        windows = OverlappingWindows(self.inflated, limit, size, min(overlap, size - 1))
        self.denoiser = Denoiser(windows, sampling.schedule, sampling.parameterization).eval()

    def sample(
        self,
        prompts: Sequence[str],
        *,
        frames: int = TRAINED_FRAMES,
        steps: int = 25,
        guidance: float = 7.5,
        negative: str = "",
        seeds: Sequence[int] | None = None,
        size: tuple[int, int] | None = None,
        image: Tensor | None = None,
        image_scale: float = 3.0,
        sampler: SamplerName | None = None,
        eta: float = 0.0,
        guidance_interval: tuple[float, float] | None = None,
        guidance_rescale: float = 0.0,
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """Clips (B,3,frames,height,width) in [-1, 1] of B prompts.

        frames: number of frames. Clips longer than the adapter's training are sampled in overlapping windows,
            with independent noise for each frame.
        steps, guidance, sampler, eta, guidance_interval, guidance_rescale: as in `SamplingOptions`.
        negative: the negative prompt.
        seeds: one per clip, by default 0, 1, ...; a clip depends on its own seed only.
        size: (height, width) in pixels, by default that of the checkpoint's training.
        image: first frame, (B,3,height,width) or (1,3,height,width) in [-1, 1]. `ReconstructionGuidance`
            with scale `image_scale` makes the other frames continue it, in about three times the time.
        on_step: called after every step with a state of latents, see `decode`.

        Raises UserError for empty prompts and invalid frames, options, seeds, sizes or images.
        """
        options = SamplingOptions(steps, guidance, sampler, eta, guidance_interval, guidance_rescale)
        if frames < 1:
            raise UserError(f"A clip must have at least one frame, not {frames}.")
        generators = make_generators(prompts, seeds)
        channels, height, width = self._latent_shape(size)
        noise = noise_like((len(prompts), channels, frames, height, width), generators).to(self.device)
        condition, unconditional = self.image.encode(prompts), self.image.encode([negative])
        constrain = None if image is None else keep_frames(self._first_frame(image, noise), image_scale)
        x = self.sampling.sample(
            self.denoiser,
            noise,
            condition,
            unconditional,
            options,
            generators,
            on_step=on_step,
            constrain=constrain,
        )
        return self.decode(x)

    def decode(self, x: Tensor) -> Tensor:
        """Clips (B,3,F,H,W) in [-1, 1] decoded from latents (B,C,F,h,w), in parts, without gradient."""
        return frame_by_frame(self.image.decode, x)

    @torch.no_grad()
    def encode(self, clips: Tensor) -> Tensor:
        """Latents (B,C,F,h,w) of clips (B,3,F,H,W) in [-1, 1], without gradient."""
        return frame_by_frame(self._first_stage.to_latents, clips)

    def save_motion(self, folder: Path) -> None:
        """Writes the motion layers as a folder for diffusers' `MotionAdapter.from_pretrained`."""
        write_motion(folder, MotionFile(self.motion.config, self.motion.state_dict()))

    def _latent_shape(self, size: tuple[int, int] | None) -> tuple[int, int, int]:
        """Shape (C,h,w) of the latents for a size in pixels. Raises UserError for an invalid size."""
        channels, *sides = self.image.shape
        if size is not None:
            factor = self._first_stage.downscale
            if min(size) < factor or any(side % factor for side in size):
                raise UserError(f"Height and width of a clip must be multiples of {factor}, not {size}.")
            sides = [side // factor for side in size]
        return channels, sides[0], sides[1]

    def _first_frame(self, image: Tensor, noise: Tensor) -> Tensor:
        """Latents (B or 1,C,1,h,w) of the given first frame. Raises UserError for another shape."""
        height, width = (side * self._first_stage.downscale for side in noise.shape[-2:])
        if image.shape[1:] != (3, height, width) or len(image) not in (1, len(noise)):
            raise UserError(
                f"The image must be (1,3,{height},{width}), the size of the clip, not {tuple(image.shape)}."
            )
        return self.encode(image[:, :, None])

    @property
    def _first_stage(self) -> KLFirstStage:
        """The autoencoder of the checkpoint."""
        assert self.image.first_stage is not None
        return self.image.first_stage


def load_motion_model(
    name_or_folder: str | Path,
    motion: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    lora: Sequence[str] = (),
    offload: bool = False,
    slicing: bool = False,
    overlap: int = 4,
) -> MotionModel:
    """Loads an image checkpoint of Stable Diffusion 1.x or SDXL with a motion adapter.

    name_or_folder, dtype, offload, slicing: as in `load_image_model`.
    motion: a motion adapter as a hub id, folder or file, see `read_motion`. With "none" the motion layers are
        newly initialized: every frame is the image model's sample of its noise, at that model's own schedule.
    lora: as in `load_image_model`. Weights for image layers, such as v3's domain adapter, are added to those;
        weights for motion modules (AnimateDiff's camera motions) are added to the motion layers.
    overlap: frames that successive windows of long clips share.

    Raises UserError as `load_image_model` and `read_motion` do, and when adapter and model do not match.
    """
    motion_loras = [source for source in lora if is_motion_lora(source)]
    image = load_image_model(
        name_or_folder,
        device=device,
        dtype=dtype,
        lora=[source for source in lora if source not in motion_loras],
        offload=offload,
        slicing=slicing,
    )
    if not isinstance(image, PretrainedImageModel) or image.name not in SCHEDULES:
        raise UserError(
            f"Motion adapters are for Stable Diffusion 1.x and SDXL, and {name_or_folder} is neither: give a "
            "checkpoint of one of them."
        )
    unet = image.pipeline.unet
    check_unguided(unet.config)
    new = str(motion) == NONE
    layers = MotionLayers(fresh_config(unet)) if new else load_motion_layers(unet, motion)
    scheduler = image.pipeline.scheduler
    sampling = image.sampling if new else motion_sampling(image.name, scheduler.config)
    for source in motion_loras:
        add_motion_lora(layers, source)
    layers.to(image.device, unet.dtype).eval().requires_grad_(False)
    return MotionModel(image, layers, sampling, overlap)


def load_motion_layers(unet: Any, motion: str | Path) -> MotionLayers:
    """Motion layers of an adapter for a U-Net, in float32.

    motion: hub id, folder or file, see `read_motion`. Raises UserError when the weights do not match the
    adapter's config.
    """
    config, tensors = read_motion(resolve_checkpoint(motion))
    # As in diffusers, the U-Net gives the number of groups: files in the original format do not store it.
    layers = MotionLayers(config.model_copy(update={"motion_norm_num_groups": unet.config.norm_num_groups}))
    expected = layers.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors or name not in expected or tensors[name].shape != expected[name].shape:
            raise UserError(
                f"The weights of the motion adapter {motion} do not fit its config: see {name}. "
                "Download the adapter again."
            )
    layers.load_state_dict(tensors)
    return layers


def motion_sampling(kind: str, scheduler: Mapping[str, Any]) -> CheckpointSampler:
    """Sampler with AnimateDiff's noise schedule and otherwise the settings of the image model.

    kind: `STABLE_DIFFUSION` or `SDXL`. scheduler: config of the image model's scheduler.
    """
    config = {**scheduler, **SCHEDULES[kind], "steps_offset": 1, "rescale_betas_zero_snr": False}
    return CheckpointSampler.from_config(config)
