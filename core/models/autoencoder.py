"""The latent stage: a light autoencoder, so that diffusion works on a small grid and the decoder draws.

Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.1 and appendix
G. Without attention and without normalization layers: those would tie every pixel's color to the whole
picture's statistics, which change as things move.
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

from core.io.presets import validate
from core.io.weights import CONFIG, load_folder, load_weights, save_folder
from core.models.bottleneck import Gaussian, NormalBottleneck, Quantized, VectorQuantizer
from core.nn.blocks import Downsample, Upsample, zero_init

SQUARE = 2  # side in pixels of the square that the outermost layers take as one position
LEAST_DEVIATION = 1e-3  # of a latent channel: one that says nothing is not blown up


class AutoencoderConfig(BaseModel):
    """The shape of an autoencoder. The per-level tuples run from the finest resolution to the coarsest.

    Two levels make latents a quarter as wide and high as the image, three an eighth.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=64, ge=8, description="side of the images, pixels")
    latent_channels: int = Field(default=8, ge=4, le=16)
    widths: tuple[int, ...] = Field(default=(32, 96), min_length=2, max_length=3)
    encoder_blocks: tuple[int, ...] = Field(default=(1, 1), description="residual blocks a level")
    decoder_blocks: tuple[int, ...] = Field(default=(2, 2), description="residual blocks a level")
    bottleneck: Literal["kl", "vq"] = Field(default="kl", description="see core.models.bottleneck")
    codes: int | None = Field(default=None, ge=2, description="of the codebook of vq, which needs it")

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
            raise ValueError("codes must be given for the bottleneck vq, and for no other")
        return self

    @property
    def downscale(self) -> int:
        """f: pixels of the image a latent, across as well as down."""
        return SQUARE * 2 ** (len(self.widths) - 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C,h,w) of the latents of one image."""
        side = self.size // self.downscale
        return self.latent_channels, side, side


class Autoencoder(nn.Module):
    """Images (B,3,H,W) in [-1, 1] <-> latents (B,C,H/f,W/f) of zero mean and unit deviation, by channel.

    Rombach et al. scale all latents by one number; here every channel has a shift and a scale of its own,
    buffers that `fit_statistics` sets once the weights are trained.
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
        """The latents as the encoder has them, neither shifted nor scaled; which type, says the bottleneck.

        Raises ValueError for images that are not (B,3,H,W) with sides that are multiples of f.
        """
        factor = self.config.downscale
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % factor or images.shape[3] % factor:
            raise ValueError(
                f"images must be (B,3,H,W) with sides that are multiples of {factor}, "
                f"not {tuple(images.shape)}"
            )
        return self.bottleneck(self.encoder(images))

    def to_latents(self, images: Tensor) -> Tensor:
        """The latents that diffusion works on: (mean - latent_mean) / latent_deviation."""
        return (self.encode(images).mean - self.latent_mean) / self.latent_deviation

    def decode(self, latents: Tensor) -> Tensor:
        """Images of such latents; not clamped. Raises ValueError unless latents are (B,C,h,w)."""
        if latents.ndim != 4 or latents.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"latents must be (B,{self.config.latent_channels},h,w), not {tuple(latents.shape)}"
            )
        return self.decoder(self.bottleneck.quantize(latents * self.latent_deviation + self.latent_mean))

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Gaussian | Quantized]:
        """For training: reconstructions from noised latents, and what `encode` says of them without noise.

        noise: (B,) deviation of the noise added to each image's latents, in units of their channel's present
            deviation over the batch. That is no part of the gradient: else latents would shrink or grow
            instead of becoming robust.
        """
        encoded = self.encode(images)
        deviation = encoded.mean.detach().std(dim=(0, 2, 3), keepdim=True)
        drawn = encoded.sample()
        noised = drawn + noise[:, None, None, None] * deviation * torch.randn_like(drawn)
        return self.decoder(self.bottleneck.quantize(noised)), encoded

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight of the decoder's last layer, where an adversary's weight is taken."""
        return self.decoder[-2].weight  # pyright: ignore[reportReturnType]

    @torch.no_grad()
    def fit_statistics(self, batches: Iterable[Tensor]) -> None:
        """Sets shift and scale so that `latents` of all these images have zero mean and unit deviation.

        Raises ValueError when there are no images.
        """
        count = 0
        total = torch.zeros(self.config.latent_channels, 1, 1, dtype=torch.float64)
        squares = torch.zeros_like(total)
        for images in batches:
            mean = self.encode(images).mean.double().cpu()
            total += mean.sum(dim=(0, 2, 3)).view_as(total)
            squares += mean.square().sum(dim=(0, 2, 3)).view_as(total)
            count += mean[:, 0].numel()
        if not count:
            raise ValueError("there are no images to take statistics of")
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt().clamp(min=LEAST_DEVIATION)
        self.latent_mean.copy_(mean)
        self.latent_deviation.copy_(deviation)

    def freeze_encoder(self) -> None:
        """Leaves gradients to the decoder alone: training keeps latents, and the fingerprint, as they are."""
        self.requires_grad_(False)
        self.decoder.requires_grad_(True)

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits of all that decides an image's latents, to half precision."""
        # Without a codebook, the config as it was before there were any: models keep their fingerprints.
        config = self.config.model_dump_json(exclude=None if self.config.codes else {"bottleneck", "codes"})
        digest = sha256(config.encode())
        for name, value in sorted(self.state_dict().items()):
            if not name.startswith("decoder."):
                digest.update(value.detach().cpu().half().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def save(self, folder: Path, notes: Mapping[str, Any] | None = None) -> None:
        """Writes config.json and model.safetensors (float16). notes: JSON values kept under "training"."""
        config = {"autoencoder": self.config.model_dump(mode="json"), "training": dict(notes or {})}
        save_folder(folder, config, self.state_dict())

    @staticmethod
    def exists_at(folder: Path) -> bool:
        """Whether a folder holds an autoencoder by itself, by its config; not whether it is whole."""
        try:
            return "autoencoder" in json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return False

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Autoencoder:
        """The autoencoder of a folder, float32, in evaluation mode, without gradient.

        Raises UserError when it is missing, damaged or does not fit.
        """
        stored = load_folder(folder)
        config = validate(stored.config.get("autoencoder"), AutoencoderConfig, folder / CONFIG)
        autoencoder = cls(config)
        load_weights(autoencoder, stored.tensors, folder)
        return autoencoder.to(device).eval().requires_grad_(False)


class ResidualConvolutions(nn.Module):
    """x + conv(SiLU(conv(SiLU(x)))), the second convolution at zero in the beginning."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = zero_init(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


def _encoder(config: AutoencoderConfig, channels: int) -> nn.Sequential:
    """Space to depth, then at every level residual blocks and a strided convolution to the next.

    channels: of the output.
    """
    fine, coarse = config.widths[0], config.widths[-1]
    layers = [nn.PixelUnshuffle(SQUARE), nn.Conv2d(3 * SQUARE**2, fine, 3, padding=1)]
    layers += [ResidualConvolutions(fine) for _ in range(config.encoder_blocks[0])]
    for (finer, width), blocks in zip(pairwise(config.widths), config.encoder_blocks[1:], strict=True):
        layers += [Downsample(finer, width), *(ResidualConvolutions(width) for _ in range(blocks))]
    return nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(coarse, channels, 3, padding=1))


def _decoder(config: AutoencoderConfig) -> nn.Sequential:
    """At every level residual blocks and a sub-pixel convolution to the next; at the end depth to space."""
    fine, coarse = config.widths[0], config.widths[-1]
    layers: list[nn.Module] = [nn.Conv2d(config.latent_channels, coarse, 3, padding=1)]
    layers += [ResidualConvolutions(coarse) for _ in range(config.decoder_blocks[-1])]
    steps = zip(pairwise(config.widths), config.decoder_blocks[:-1], strict=True)
    for (width, coarser), blocks in reversed(list(steps)):
        layers += [Upsample(coarser, width), *(ResidualConvolutions(width) for _ in range(blocks))]
    layers += [nn.SiLU(), nn.Conv2d(fine, 3 * SQUARE**2, 3, padding=1), nn.PixelShuffle(SQUARE)]
    return nn.Sequential(*layers)
