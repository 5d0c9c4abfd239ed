"""Spatial super-resolution: a diffusion model of images, conditioned on their lower resolution.

The last stage of a cascade: Ho et al. 2021, "Cascaded Diffusion Models for High Fidelity Image Generation"
(CDM), and Saharia et al. 2022, "Photorealistic Text-to-Image Diffusion Models" (Imagen), section 2.4. Ho et
al. 2022, "Imagen Video", applies it to every frame of a clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from core.condition import Condition, no_condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.io.weights import load_model, save_model
from core.nn.convolutional_unet import ConvolutionalUNet
from core.samplers import ddim, noise_like

AT_ONCE = 4  # images per network call on a CPU: more do not fit its caches
GREATEST_LEVEL = 0.5  # of the augmentation's noise


class SuperResolutionConfig(BaseModel):
    """Configuration of a super-resolution model; tuples have one entry per level, from finest to coarsest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=256, ge=16, description="side of the images, pixels")
    factor: int = Field(default=4, ge=2, le=8, description="size over the size of the low resolution")
    widths: tuple[int, ...] = Field(default=(64, 128, 192), min_length=1)
    blocks: tuple[int, ...] = Field(default=(2, 2, 2), description="residual blocks per level and direction")
    parameterization: Parameterization = Parameterization.X0

    @model_validator(mode="after")
    def _levels_agree(self) -> SuperResolutionConfig:
        if len(self.blocks) != len(self.widths) or min(self.blocks) < 1 or min(self.widths) < 1:
            raise ValueError("widths and blocks need one entry of at least 1 per level")
        if self.size % (self.factor * self.stride):
            raise ValueError(f"size {self.size} is not a multiple of {self.factor * self.stride}")
        return self

    @property
    def low_size(self) -> int:
        """Side of the low-resolution images, pixels."""
        return self.size // self.factor

    @property
    def stride(self) -> int:
        """Low-resolution height and width must be multiples of this many pixels."""
        return 2 ** (len(self.widths) - 1)

    def denoiser(self) -> Denoiser:
        """A denoiser with a new network. Before it is applied, `with_low_resolution` binds its condition."""
        return Denoiser(SuperResolutionUNet(self), NoiseSchedule.cosine(), self.parameterization)


class SuperResolutionUNet(nn.Module):
    """Convolutional U-Net on the pixel grid of the low resolution.

    One position holds a square of factor x factor pixels (space to depth) and the low-resolution pixel at its
    place. The network is fully convolutional, so that it trains on crops and runs at any size.
    """

    def __init__(self, config: SuperResolutionConfig) -> None:
        super().__init__()
        self.config = config
        channels = 3 * config.factor**2
        self.unet = ConvolutionalUNet(channels + 3, channels, config.widths, config.blocks)

    def forward(self, x: Tensor, t: Tensor, low: Tensor, level: Tensor) -> Tensor:
        """The output in the config's parameterization, shaped like x.

        Args:
            x: (B,3,H,W) noised images.
            t: (B,) timesteps, integer or fractional.
            low: (B,3,H/factor,W/factor) in [-1, 1], noised to `level`.
            level: (B,) deviation of the noise in `low`, in [0, 1).

        Raises:
            ValueError: the shapes do not fit each other or the network's stride.
        """
        factor = self.config.factor
        height, width = low.shape[2:]
        if x.shape[2:] != (height * factor, width * factor):
            raise ValueError(
                f"images {tuple(x.shape)} of low resolution {tuple(low.shape)}: the sides must differ by a "
                f"factor of {factor}"
            )
        output = F.pixel_shuffle(
            self.unet(torch.cat([F.pixel_unshuffle(x, factor), low], dim=1), t, level), factor
        )
        # x0 is a correction of the enlarged picture; other parameterizations have no such simple part.
        residual = self.config.parameterization is Parameterization.X0
        return output + enlarge(low, factor) if residual else output

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the last layer, at which the adaptive adversarial weight is computed."""
        return self.unet.out.weight  # pyright: ignore[reportReturnType]


class _Bound(nn.Module):
    """A super-resolution network with its low-resolution condition: (x, t, condition) -> output."""

    def __init__(self, network: nn.Module, low: Tensor, level: Tensor) -> None:
        super().__init__()
        self.network, self.low, self.level = network, low, level

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.network(x, t, self.low, self.level)


def with_low_resolution(denoiser: Denoiser, low: Tensor, level: Tensor) -> Denoiser:
    """The denoiser of images whose low resolution is `low` (B,3,h,w), noised to `level` (B,).

    It can be guided and sampled like every other. The text is no condition of it: on the toybox, pooled text
    changed the error by 0.01 dB.
    """
    return denoiser.with_network(_Bound(denoiser.network, low, level))


def enlarge(images: Tensor, factor: int) -> Tensor:
    """Bicubic enlargement of images (B,3,H,W) in [-1, 1] by a factor, clamped to [-1, 1]."""
    return F.interpolate(images, scale_factor=float(factor), mode="bicubic").clamp(-1, 1)


def augment(low: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    """Noise-conditioning augmentation: sqrt(1 - level^2) low + level noise (CDM, section 4.2).

    low, noise: (B,3,h,w); level: (B,) in [0, 1). Trained on such inputs, a model corrects what an earlier
    stage drew wrong, instead of enlarging it faithfully.
    """
    level = level[:, None, None, None]
    return (1 - level.square()).sqrt() * low + level * noise


class SuperResolution:
    """Draws images at a higher resolution from images at a lower one."""

    def __init__(self, config: SuperResolutionConfig, denoiser: Denoiser) -> None:
        """denoiser: made by `config.denoiser()`, on the device to be used."""
        self.config = config
        self.denoiser = denoiser.eval()
        self.device = next(denoiser.parameters()).device

    @torch.no_grad()
    def sample(self, images: Tensor, seeds: Sequence[int], *, steps: int = 1, level: float = 0.0) -> Tensor:
        """Images (B,3,factor*H,factor*W) in [-1, 1] of images (B,3,H,W) in [-1, 1], sampled with DDIM.

        seeds: of the noise, one per image. The frames of a clip share one seed: details drawn from different
            noise would flicker.
        steps: denoising steps. One step is the mean of all fitting pictures, unless the model was finished
            with an adversary; more steps draw one of them.
        level: of the noise that is added to the images, in [0, 0.5]; see `augment`.

        Raises UserError for impossible steps, levels or sides.
        """
        if not 0 <= level <= GREATEST_LEVEL:
            raise UserError(f"The level of augmentation must be from 0 to {GREATEST_LEVEL}, not {level}.")
        if images.shape[2] % self.config.stride or images.shape[3] % self.config.stride:
            raise UserError(
                f"Super-resolution takes sides that are multiples of {self.config.stride} pixels, not "
                f"{images.shape[3]}x{images.shape[2]}."
            )
        batches = zip(images.split(AT_ONCE), _chunks(seeds, AT_ONCE), strict=True)
        return torch.cat([self._sample(batch, chosen, steps, level) for batch, chosen in batches])

    def _sample(self, images: Tensor, seeds: Sequence[int], steps: int, level: float) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        count, _, height, width = images.shape
        factor = self.config.factor
        levels = torch.full((count,), level, device=self.device)
        noise = noise_like((count, 3, height * factor, width * factor), generators).to(self.device)
        low = augment(images.to(self.device), levels, noise_like(images.shape, generators).to(self.device))
        bound = with_low_resolution(self.denoiser, low, levels)
        x = noise
        for state in ddim(bound, noise, no_condition(count, self.device), steps=steps):
            x = state.x
        return x.clamp(-1, 1)

    def save(self, folder: Path, notes: Mapping[str, Any] | None = None) -> None:
        """Writes config.json and model.safetensors (float16). notes: JSON values stored under "training"."""
        save_model(folder, "super_resolution", self.config, self.denoiser.network, notes)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> SuperResolution:
        """The model of a folder, float32, without gradient.

        Raises UserError when it is missing, damaged, or its weights do not fit its config.
        """
        config, denoiser = load_model(
            folder, "super_resolution", SuperResolutionConfig, SuperResolutionConfig.denoiser, "network"
        )
        denoiser = denoiser.to(device).requires_grad_(False)
        denoiser.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return cls(config, denoiser)


def _chunks(values: Sequence[int], size: int) -> list[Sequence[int]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
