"""Temporal super-resolution: a diffusion model of the frame between two frames, on the latents of a clip.

Ho et al. 2022, "Imagen Video", section 2.2: the stage that raises the frame rate is conditioned on the frames
of the stage before it, with augmentation noise. Here it sees the two neighbors of a frame, and predicts x0 as
a correction of their mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from core.condition import Condition, no_condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.io.weights import load_model, save_model
from core.nn.convolutional_unet import ConvolutionalUNet
from core.samplers import dpm_solver, noise_like


class InterpolationConfig(BaseModel):
    """Configuration of a temporal super-resolution model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int = Field(default=16, ge=1, description="channels of the latents")
    first_stage: str = Field(default="", description="fingerprint of the autoencoder that made the latents")
    widths: tuple[int, ...] = Field(default=(96, 160), min_length=1)
    blocks: tuple[int, ...] = Field(default=(2, 2), description="residual blocks per level and direction")

    def denoiser(self) -> Denoiser:
        """A denoiser with a new network. Before it is applied, `between` binds the neighbors."""
        network = ConvolutionalUNet(3 * self.channels, self.channels, self.widths, self.blocks)
        return Denoiser(network, NoiseSchedule.cosine(), Parameterization.X0)


class _Between(nn.Module):
    """A network with the neighbors of the frame that it denoises: (x, t, condition) -> output."""

    def __init__(self, network: nn.Module, before: Tensor, after: Tensor, level: Tensor) -> None:
        super().__init__()
        self.network, self.before, self.after, self.level = network, before, after, level

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        correction = self.network(torch.cat([x, self.before, self.after], dim=1), t, self.level)
        return correction + (self.before + self.after) / 2


def between(denoiser: Denoiser, before: Tensor, after: Tensor, level: Tensor) -> Denoiser:
    """The denoiser of frames (B,C,h,w) between `before` and `after`, both (B,C,h,w), noised to `level` (B,).

    The noise of the neighbors is `core.models.super_resolution.augment`.
    """
    return denoiser.with_network(_Between(denoiser.network, before, after, level))


class FrameInterpolation:
    """Draws the frames between the frames of a clip."""

    def __init__(self, config: InterpolationConfig, denoiser: Denoiser) -> None:
        """denoiser: made by `config.denoiser()`, on the device to be used."""
        self.config = config
        self.denoiser = denoiser.eval()
        self.device = next(denoiser.parameters()).device

    @torch.no_grad()
    def sample(self, clips: Tensor, seeds: Sequence[int], *, steps: int = 1, loop: bool = False) -> Tensor:
        """Latents (B,C,2F-1,h,w) of clips (B,C,F,h,w), whose frames stay; (B,C,2F,h,w) with `loop`.

        seeds: of the noise, one per clip, the same for all its frames. steps: of DPM-Solver++; one gives
            the mean of what fits, which is nearest to the true frame.
        loop: also draw the frame between the last and the first.
        """
        after = clips.roll(-1, dims=2)
        gaps = clips.shape[2] if loop else clips.shape[2] - 1
        before, after = (frames[:, :, :gaps] for frames in (clips, after))
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = noise_like((len(clips), *clips[0, :, 0].shape), generators).to(self.device)
        x = noise.repeat_interleave(gaps, dim=0)
        before, after = (each.transpose(1, 2).flatten(0, 1).to(self.device) for each in (before, after))
        bound = between(self.denoiser, before, after, torch.zeros(len(x), device=self.device))
        for state in dpm_solver(bound, x, no_condition(len(x), self.device), steps=steps):
            x = state.x
        middle = x.unflatten(0, (len(clips), gaps)).transpose(1, 2).to(clips)
        out = torch.stack([clips[:, :, :gaps], middle], dim=3).flatten(2, 3)
        return out if loop else torch.cat([out, clips[:, :, -1:]], dim=2)

    def save(self, folder: Path, notes: Mapping[str, Any] | None = None, int8: bool = False) -> None:
        """Writes config.json and model.safetensors (float16, or int8 as in `save_folder`).

        notes: JSON values stored under "training".
        """
        save_model(folder, "interpolation", self.config, self.denoiser.network, notes, int8)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> FrameInterpolation:
        """The model of a folder, float32, without gradient.

        Raises UserError when it is missing, damaged, or its weights do not fit its config.
        """
        config, denoiser = load_model(
            folder, "interpolation", InterpolationConfig, InterpolationConfig.denoiser, "network"
        )
        return cls(config, denoiser.to(device).requires_grad_(False))
