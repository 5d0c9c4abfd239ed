"""Image checkpoints lifted into time by a motion adapter: AnimateDiff, as a model that draws clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.pretrained.first_stage import KLFirstStage
from core.pretrained.hub import resolve_checkpoint
from core.pretrained.image_model import SDXL, STABLE_DIFFUSION, PretrainedImageModel, load_image_model
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
from video.reconstruction import continue_from
from video.video_model import frame_by_frame

NONE = "none"  # in place of a motion adapter: fresh layers, every frame an image of its own

# The noise that AnimateDiff's layers were trained with, which is not the image model's: configs/inference of
# its code, for Stable Diffusion and for SDXL's beta. (diffusers' examples take the first for both.)
SCHEDULES = {
    STABLE_DIFFUSION: {"beta_schedule": "linear", "beta_start": 0.00085, "beta_end": 0.012},
    SDXL: {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.020},
}
TRAINED_FRAMES = 16  # of all AnimateDiff versions


class MotionModel:
    """Draws clips of prompts with an image checkpoint and a motion adapter."""

    def __init__(
        self, image: PretrainedImageModel, motion: MotionLayers, sampling: CheckpointSampler, overlap: int = 4
    ) -> None:
        """Hooks the motion layers into the U-Net of `image`, which is no longer usable as an image model.

        image: a Stable Diffusion or SDXL checkpoint.
        sampling: for the motion layers' noise schedule.
        overlap: frames that consecutive windows of a long clip share.

        Raises UserError when the motion layers are for another U-Net.
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

        frames: more than the adapter was trained for are sampled in overlapping windows, each frame with
            noise of its own.
        steps, guidance, sampler, eta, guidance_interval, guidance_rescale: as in `SamplingOptions`.
        negative: the negative prompt.
        seeds: one per clip, 0, 1, ... unless given; a clip depends on its own seed only.
        size: (height, width) in pixels; that of the checkpoint's training unless given.
        image: (B,3,height,width) or (1,...) in [-1, 1], the first frame; `ReconstructionGuidance` of scale
            `image_scale` makes the others continue it, which takes about three times as long.
        on_step: called after every step; its states hold latents, for `decode`.

        Raises UserError for empty prompts and impossible frames, options, seeds, sizes or images.
        """
        options = SamplingOptions(steps, guidance, sampler, eta, guidance_interval, guidance_rescale)
        if frames < 1:
            raise UserError(f"A clip must have at least one frame, not {frames}.")
        generators = make_generators(prompts, seeds)
        channels, height, width = self._latent_shape(size)
        noise = noise_like((len(prompts), channels, frames, height, width), generators).to(self.device)
        condition, away = self.image.encode(prompts), self.image.encode([negative])
        constrain = None if image is None else continue_from(self._first_frame(image, noise), image_scale)
        x = self.sampling.sample(
            self.denoiser, noise, condition, away, options, generators, on_step=on_step, constrain=constrain
        )
        return self.decode(x)

    def decode(self, x: Tensor) -> Tensor:
        """Clips (B,3,F,H,W) in [-1, 1] of latents (B,C,F,h,w), a few frames at a time; without gradient."""
        return frame_by_frame(self.image.decode, x)

    @torch.no_grad()
    def encode(self, clips: Tensor) -> Tensor:
        """The latents (B,C,F,h,w) of clips (B,3,F,H,W) in [-1, 1], for `decode`; without gradient."""
        return frame_by_frame(self._first_stage.to_latents, clips)

    def save_motion(self, folder: Path) -> None:
        """Writes the motion layers as a folder that diffusers' `MotionAdapter.from_pretrained` reads."""
        write_motion(folder, MotionFile(self.motion.config, self.motion.state_dict()))

    def _latent_shape(self, size: tuple[int, int] | None) -> tuple[int, int, int]:
        channels, *sides = self.image.shape
        if size is not None:
            factor = self._first_stage.downscale
            if min(size) < factor or any(side % factor for side in size):
                raise UserError(f"The height and width of a clip must be multiples of {factor}, not {size}.")
            sides = [side // factor for side in size]
        return channels, sides[0], sides[1]

    def _first_frame(self, image: Tensor, noise: Tensor) -> Tensor:
        """The latents (B or 1,C,1,h,w) of the image."""
        wanted = tuple(side * self._first_stage.downscale for side in noise.shape[-2:])
        if image.shape[1:] != (3, *wanted) or len(image) not in (1, len(noise)):
            raise UserError(f"The image must be (1,3,{wanted[0]},{wanted[1]}), not {tuple(image.shape)}.")
        return self.encode(image[:, :, None])

    @property
    def _first_stage(self) -> KLFirstStage:
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
    """An image checkpoint of Stable Diffusion 1.x or SDXL lifted into time.

    name_or_folder, dtype, offload, slicing: as in `load_image_model`.
    motion: a motion adapter, by hub id, folder or file, see `read_motion`; or "none": fresh layers, with
        which every frame is what the image model draws of its noise, at the image model's own schedule.
    lora: as in `load_image_model`, among them v3's domain adapter, which goes to the image layers; weights
        for motion modules (AnimateDiff's camera motions) go there.
    overlap: frames that the windows of long clips share.

    Raises UserError as `load_image_model` and `read_motion` do, and when the two do not fit each other.
    """
    of_motion = [source for source in lora if is_motion_lora(source)]
    image = load_image_model(
        name_or_folder,
        device=device,
        dtype=dtype,
        lora=[source for source in lora if source not in of_motion],
        offload=offload,
        slicing=slicing,
    )
    if not isinstance(image, PretrainedImageModel) or image.name not in SCHEDULES:
        raise UserError(
            f"Motion adapters are for Stable Diffusion 1.x and SDXL, and {name_or_folder} is neither."
        )
    layers, sampling = _layers(image, motion)
    for source in of_motion:
        add_motion_lora(layers, source)
    unet = image.pipeline.unet
    layers.to(image.device, unet.dtype).eval().requires_grad_(False)
    return MotionModel(image, layers, sampling, overlap)


def _layers(image: PretrainedImageModel, motion: str | Path) -> tuple[MotionLayers, CheckpointSampler]:
    """The motion layers for an image model, and how they are sampled."""
    unet = image.pipeline.unet
    if str(motion) == NONE:
        return MotionLayers(fresh_config(unet)), image.sampling
    path = resolve_checkpoint(motion)
    config, tensors = read_motion(path)
    # As in diffusers, the groups are those of the U-Net: files in the original format do not say.
    layers = MotionLayers(config.model_copy(update={"motion_norm_num_groups": unet.config.norm_num_groups}))
    wanted = layers.state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        if name not in tensors or name not in wanted or tensors[name].shape != wanted[name].shape:
            raise UserError(f"The weights of the motion adapter {motion} do not fit its config: see {name}.")
    layers.load_state_dict(tensors)
    return layers, motion_sampling(image)


def motion_sampling(image: PretrainedImageModel) -> CheckpointSampler:
    """How AnimateDiff's layers are sampled on top of that image model."""
    config = {**image.pipeline.scheduler.config, **SCHEDULES[image.name]}
    return CheckpointSampler.from_config({**config, "steps_offset": 1, "rescale_betas_zero_snr": False})
