"""A small convolutional autoencoder of images, the first stage of latent diffusion.

Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.1 and appendix
G. It has no attention and no normalization layers. With those, the color of every pixel would depend on
statistics of the entire image, which change as objects move.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from core.io.base_model import CONFIG
from core.io.weights import load_model, save_model
from core.models.bottleneck import Gaussian, NormalBottleneck, Quantized, VectorQuantizer
from core.nn.blocks import Downsample, Upsample, zero_init

SQUARE = 2  # side in pixels of the square that the outermost layers take as one position
LEAST_DEVIATION = 1e-3  # lower limit of a latent channel's deviation: constant channels are not amplified


class AutoencoderConfig(BaseModel):
    """Configuration of an autoencoder; tuples have one entry per level, from finest to coarsest resolution.

    The latents are 1/4 as wide and high as the image with two levels, and 1/8 with three.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=64, ge=8, description="side of the images, pixels")
    latent_channels: int = Field(default=8, ge=4, le=16)
    widths: tuple[int, ...] = Field(default=(32, 96), min_length=2, max_length=3)
    encoder_blocks: tuple[int, ...] = Field(default=(1, 1), description="residual blocks per level")
    decoder_blocks: tuple[int, ...] = Field(default=(2, 2), description="residual blocks per level")
    bottleneck: Literal["kl", "vq"] = Field(default="kl", description="see core.models.bottleneck")
    codes: int | None = Field(default=None, ge=2, description="size of the codebook, required for vq")

    @model_validator(mode="after")
    def _agree(self) -> AutoencoderConfig:
        for name in ("encoder_blocks", "decoder_blocks"):
            if len(getattr(self, name)) != len(self.widths):
                raise ValueError(f"{name} must have one entry per level: {len(self.widths)}, as widths has")
        if min(self.widths + self.encoder_blocks + self.decoder_blocks) < 1:
            raise ValueError("widths and blocks must be at least 1 at every level")
        if self.size % self.downscale:
            raise ValueError(f"size {self.size} is not a multiple of the downscale {self.downscale}")
        if (self.bottleneck == "vq") != (self.codes is not None):
            raise ValueError("codes is required for the bottleneck vq, and allowed for no other")
        return self

    @property
    def downscale(self) -> int:
        """Downsampling factor f: image pixels per latent position, along each axis."""
        return SQUARE * 2 ** (len(self.widths) - 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape (C,h,w) of the latents of one image."""
        side = self.size // self.downscale
        return self.latent_channels, side, side


class Autoencoder(nn.Module):
    """Autoencoder of images (B,3,H,W) in [-1, 1] and latents (B,C,H/f,W/f), normalized per channel.

    Every latent channel has zero mean and unit deviation. Rombach et al. scale all latents by one number.
    Here every channel has its own shift and scale, buffers that `fit_statistics` sets after training.
    """

    latent_mean: Tensor
    latent_deviation: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.bottleneck = (
            VectorQuantizer(config.latent_channels, config.codes)
            if config.codes
            else NormalBottleneck(config.latent_channels)
        )
        self.encoder = _encoder(config, self.bottleneck.inputs)
        self.decoder = _decoder(config)
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels, 1, 1))
        self.register_buffer("latent_deviation", torch.ones(config.latent_channels, 1, 1))

    def encode(self, images: Tensor) -> Gaussian | Quantized:
        """The encoder's latents, neither shifted nor scaled; the bottleneck determines the type.

        Raises ValueError unless images are (B,3,H,W) with sides that are multiples of f.
        """
        factor = self.config.downscale
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % factor or images.shape[3] % factor:
            raise ValueError(
                f"images must be (B,3,H,W) with sides that are multiples of {factor}, "
                f"not {tuple(images.shape)}"
            )
        return self.bottleneck(self.encoder(images))

    def to_latents(self, images: Tensor) -> Tensor:
        """Normalized latents for diffusion, (B,C,H/f,W/f): (mean - latent_mean) / latent_deviation."""
        return (self.encode(images).mean - self.latent_mean) / self.latent_deviation

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B,3,h*f,w*f) of normalized latents (B,C,h,w), not clamped.

        Raises ValueError for latents of another shape.
        """
        if latents.ndim != 4 or latents.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"latents must be (B,{self.config.latent_channels},h,w), not {tuple(latents.shape)}"
            )
        return self.decoder(self.bottleneck.quantize(latents * self.latent_deviation + self.latent_mean))

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Gaussian | Quantized]:
        """Training pass: reconstructions from noised latents, and the output of `encode`, without noise.

        noise: (B,) deviation of the noise added to each image's latents, relative to the deviation of their
            channel over the batch. The latter has no gradient: otherwise the latents would shrink or grow
            instead of becoming robust.
        """
        encoded = self.encode(images)
        deviation = encoded.mean.detach().std(dim=(0, 2, 3), keepdim=True)
        latents = encoded.sample()
        noised = latents + noise[:, None, None, None] * deviation * torch.randn_like(latents)
        return self.decoder(self.bottleneck.quantize(noised)), encoded

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the decoder's last layer, at which the adaptive adversarial weight is computed."""
        return self.decoder[-2].weight  # pyright: ignore[reportReturnType]

    @torch.no_grad()
    def fit_statistics(self, batches: Iterable[Tensor]) -> None:
        """Sets shift and scale so that `to_latents` of all these images has zero mean and unit deviation.

        batches: images (B,3,H,W). Raises ValueError when there are none.
        """
        count = 0
        total = torch.zeros(self.config.latent_channels, 1, 1, dtype=torch.float64)
        squares = torch.zeros_like(total)
        for images in batches:
            mean = self.encode(images).mean.cpu().double()
            total += mean.sum(dim=(0, 2, 3)).view_as(total)
            squares += mean.square().sum(dim=(0, 2, 3)).view_as(total)
            count += mean[:, 0].numel()
        if not count:
            raise ValueError("there are no images to compute the latent statistics from")
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt().clamp(min=LEAST_DEVIATION)
        self.latent_mean.copy_(mean)
        self.latent_deviation.copy_(deviation)

    def freeze_encoder(self) -> None:
        """Disables gradients outside the decoder: training then changes neither latents nor fingerprint."""
        self.requires_grad_(False)
        self.decoder.requires_grad_(True)

    @property
    def fingerprint(self) -> str:
        """Hash of everything that determines an image's latents, in half precision: 12 hexadecimal digits."""
        # Without a codebook the newer settings are left out, so that older models have the same fingerprint.
        config = self.config.model_dump_json(exclude=None if self.config.codes else {"bottleneck", "codes"})
        digest = sha256(config.encode())
        for name, value in sorted(self.state_dict().items()):
            if not name.startswith("decoder."):
                digest.update(value.detach().cpu().half().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def save(self, folder: Path, notes: Mapping[str, Any] | None = None) -> None:
        """Writes config.json and model.safetensors (float16). notes: JSON values stored under "training"."""
        save_model(folder, "autoencoder", self.config, self, notes)

    @staticmethod
    def exists_at(folder: Path) -> bool:
        """Whether the config of a folder is that of an autoencoder by itself; the weights are not checked."""
        try:
            return "autoencoder" in json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return False

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Autoencoder:
        """The autoencoder stored in a folder, float32, in evaluation mode, without gradient.

        Raises UserError when it is missing, damaged, or its weights do not fit its config.
        """
        _, model = load_model(folder, "autoencoder", AutoencoderConfig, cls)
        return model.to(device).eval().requires_grad_(False)


class ResidualConvolutions(nn.Module):
    """Residual block x + conv(SiLU(conv(SiLU(x)))); the second convolution is initialized to zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = zero_init(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B,C,H,W). Returns a tensor shaped like x."""
        return x + self.second(F.silu(self.first(F.silu(x))))


def _encoder(config: AutoencoderConfig, channels: int) -> nn.Sequential:
    """Encoder: space to depth, residual blocks at every level, and a strided convolution to the next.

    channels: channels of the output.
    """
    fine, coarse = config.widths[0], config.widths[-1]
    layers = [nn.PixelUnshuffle(SQUARE), nn.Conv2d(3 * SQUARE**2, fine, 3, padding=1)]
    layers += [ResidualConvolutions(fine) for _ in range(config.encoder_blocks[0])]
    for (finer, width), blocks in zip(pairwise(config.widths), config.encoder_blocks[1:], strict=True):
        layers += [Downsample(finer, width), *(ResidualConvolutions(width) for _ in range(blocks))]
    return nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(coarse, channels, 3, padding=1))


def _decoder(config: AutoencoderConfig) -> nn.Sequential:
    """Decoder: residual blocks at every level, a sub-pixel convolution to the next, and depth to space."""
    fine, coarse = config.widths[0], config.widths[-1]
    layers: list[nn.Module] = [nn.Conv2d(config.latent_channels, coarse, 3, padding=1)]
    layers += [ResidualConvolutions(coarse) for _ in range(config.decoder_blocks[-1])]
    steps = zip(pairwise(config.widths), config.decoder_blocks[:-1], strict=True)
    for (width, coarser), blocks in reversed(list(steps)):
        layers += [Upsample(coarser, width), *(ResidualConvolutions(width) for _ in range(blocks))]
    layers += [nn.SiLU(), nn.Conv2d(fine, 3 * SQUARE**2, 3, padding=1), nn.PixelShuffle(SQUARE)]
    return nn.Sequential(*layers)
