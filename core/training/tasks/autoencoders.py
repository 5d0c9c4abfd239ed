"""Training of the autoencoder: preset, task, latent statistics and evaluation."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from core.errors import UserError
from core.io.text import too_few
from core.io.weights import load_weights
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.bottleneck import Gaussian, Quantized, perplexity
from core.models.perceptual import PerceptualDistance
from core.training.adversary import Adversary, AdversaryConfig
from core.training.config import TrainingConfig
from core.training.data import Shards
from core.training.trainer import BareNetwork

UNLIKE = 0.1  # in the range [-1, 1]: minimum difference from the backdrop of a pixel of the figure
DETAILED = 0.15  # in the range [-1, 1]: difference from the surroundings of a pixel that counts in full
BATCH, SAMPLE = 64, 8192  # images per batch, and total number of images for the latent statistics


class AutoencoderPreset(BaseModel):
    """Architecture and training of an autoencoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: AutoencoderConfig = AutoencoderConfig()
    decoder_only: bool = Field(
        default=False, description="train only the decoder of a trained autoencoder; latents do not change"
    )
    latent_noise: float = Field(default=0.15, ge=0, description="scale of the noise on normalized latents")
    figure_weight: float = Field(
        default=3.0, ge=0, description="weight of the figure's pixels in addition to 1"
    )
    detail_weight: float = Field(
        default=0.0, ge=0, description="weight of detailed pixels in addition to 1, see detail_map"
    )
    square_weight: float = Field(default=0.0, ge=0, description="weight of the squared error")
    edge_weight: float = Field(default=0.5, ge=0, description="weight of the L1 error of image gradients")
    kl_weight: float = Field(
        default=1e-5, ge=0, description="weight of the KL divergence in nats per value of the image"
    )
    commitment: float = Field(
        default=0.25,
        ge=0,
        description="weight of a codebook's commitment loss, beta of van den Oord et al. 2017",
    )
    perceptual_weight: float = Field(
        default=0.0, ge=0, description="weight of the perceptual distance; if not 0, train features first"
    )
    adversary: AdversaryConfig | None = None
    held_back: int = Field(
        default=1024, ge=1, description="number of last images held back from training, for the PSNR"
    )
    training: TrainingConfig = TrainingConfig(batch_size=32, learning_rate=1e-3)

    @model_validator(mode="after")
    def _check_compile(self) -> "AutoencoderPreset":
        if self.adversary and self.training.compile:
            raise ValueError(
                "training.compile must be false with an adversary, which needs a second backward pass"
            )
        return self


class AutoencoderTask:
    """Reconstruction of images from noised latents.

    The standard deviation of the noise on an image's latents is |N(0, latent_noise^2)|. The decoder thus
    becomes robust to small errors of sampled latents (noise-augmented decoding, Zheng et al. 2025, "Diffusion
    Transformers with Representation Autoencoders", section 4).
    """

    def __init__(
        self,
        images: Shards,
        preset: AutoencoderPreset,
        perceptual: PerceptualDistance | None = None,
        adversary: Adversary | None = None,
    ) -> None:
        """perceptual, adversary: required exactly if the preset has them; the trainer also needs the latter.

        Raises ValueError when they do not match the preset, and UserError when the images have another size
        or there are no more images than are held back.
        """
        if bool(perceptual) != bool(preset.perceptual_weight) or bool(adversary) != bool(preset.adversary):
            raise ValueError("the perceptual distance or the adversary is not that of the preset")
        side = images.tables[0].shape[-1]
        if side != preset.model.size:
            raise UserError(f"The images are {side} pixels wide, the autoencoder takes {preset.model.size}.")
        if len(images) <= preset.held_back:
            raise UserError(f"{too_few(len(images), 'image')}: {preset.held_back} are held back.")
        self.images, self.preset = images, preset
        self.perceptual, self.adversary = perceptual, adversary

    def __len__(self) -> int:
        return len(self.images) - self.preset.held_back

    def loss(self, model: BareNetwork, index: Tensor) -> Tensor:
        """Loss of each image, (B,). index: (B,) on the CPU."""
        preset, images = self.preset, self.images.pixels(index)
        noise = preset.latent_noise * torch.randn(len(images)).abs().to(images.device)
        reconstructions, encoded = model.network(images, noise)
        weight = torch.ones_like(images[:, :1])
        if preset.figure_weight:
            weight = weight + preset.figure_weight * figure_mask(images).float()
        if preset.detail_weight:
            weight = weight + preset.detail_weight * detail_map(images)
        reconstructions = reconstructions.float()
        error = reconstructions - images
        reconstruction_loss = weighted_l1(error, weight, preset.edge_weight)
        if preset.square_weight:
            reconstruction_loss = reconstruction_loss + preset.square_weight * _mean(error.square(), weight)
        if self.perceptual:
            perceptual_loss = self.perceptual(reconstructions, images)
            reconstruction_loss = reconstruction_loss + preset.perceptual_weight * perceptual_loss
        loss = reconstruction_loss + self._bottleneck_loss(encoded, images[0].numel())
        if self.adversary and self.adversary.active:
            loss = loss + self.adversary.loss(images, reconstructions, reconstruction_loss)
        return loss

    def _bottleneck_loss(self, encoded: Gaussian | Quantized, values: int) -> Tensor:
        """Weighted loss of the bottleneck, (B,). values: number of values of an image."""
        if isinstance(encoded, Quantized):
            return self.preset.commitment * encoded.commitment_loss()
        return self.preset.kl_weight * encoded.kl_divergence().float() / values


def figure_mask(images: Tensor) -> Tensor:
    """Mask of the figure in images (B,3,H,W) in [-1, 1], (B,1,H,W) bool, dilated by one pixel.

    The backdrop of a row is its median color, because the toybox's backdrops vary mostly from row to row.
    Other details such as a sun or rain count as figure.
    """
    backdrop = images.median(dim=3, keepdim=True).values
    foreground = ((images - backdrop).abs().amax(dim=1, keepdim=True) > UNLIKE).float()
    return F.max_pool2d(foreground, 3, stride=1, padding=1) > 0


def detail_map(images: Tensor) -> Tensor:
    """How detailed images (B,3,H,W) in [-1, 1] are around each pixel, (B,1,H,W) in [0, 1].

    The largest difference of a channel from its mean over 5x5 pixels, within 3x3 pixels, relative to
    `DETAILED`. Eyes of two pixels are detailed, and so are edges; backdrops and bodies are not.
    """
    mean = F.avg_pool2d(images, 5, stride=1, padding=2, count_include_pad=False)
    difference = (images - mean).abs().amax(dim=1, keepdim=True)
    return (F.max_pool2d(difference, 3, stride=1, padding=1) / DETAILED).clamp(max=1)


def weighted_l1(error: Tensor, weight: Tensor, edge_weight: float) -> Tensor:
    """Weighted mean absolute error of images, (B,), plus `edge_weight` times that of their gradients.

    error: (B,3,H,W); weight: (B,1,H,W). The gradients are differences of neighbors to the right and below.
    They penalize blurred or beaded edges whose colors are nearly right.
    """
    across, down = error.diff(dim=3).abs(), error.diff(dim=2).abs()
    edges = _mean(across, weight[..., 1:]) + _mean(down, weight[..., 1:, :])
    return _mean(error.abs(), weight) + edge_weight * edges


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of each image, (B,). values: (B,C,H,W); weight: (B,1,H,W)."""
    return (values.mean(dim=1, keepdim=True) * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)


@torch.no_grad()
def trained_autoencoder(
    task: AutoencoderTask, weights: Mapping[str, Tensor], folder: Path, device: torch.device | str = "cpu"
) -> tuple[Autoencoder, dict[str, float]]:
    """The trained autoencoder with its latent statistics, and its quality on the images held back.

    With `decoder_only` the latent statistics do not change.
    weights: of an `Autoencoder`, stored in `folder`. The quality is the peak signal-to-noise ratio, in dB, of
    the mean squared error over all images held back: of all pixels ("psnr"), of the figures ("psnr_figure")
    and of images decoded from latents with noise of standard deviation `latent_noise` ("psnr_noised"). A
    codebook adds its "perplexity".
    """
    images, preset, trained = task.images, task.preset, len(task)
    autoencoder = Autoencoder(preset.model)
    load_weights(autoencoder, weights, folder)
    autoencoder = autoencoder.to(device).eval().requires_grad_(False)
    if not preset.decoder_only:
        sample = torch.linspace(0, trained - 1, min(trained, SAMPLE)).long()
        autoencoder.fit_statistics(images.pixels(index) for index in sample.split(BATCH))

    generator = torch.Generator().manual_seed(0)
    errors = torch.zeros(3, dtype=torch.float64)
    counts = torch.zeros(3, dtype=torch.float64)
    for index in torch.arange(trained, len(images)).split(BATCH):
        target = images.pixels(index)
        latents = autoencoder.to_latents(target)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        plain, noised = (
            (autoencoder.decode(z).clamp(-1, 1) - target).square()
            for z in (latents, latents + preset.latent_noise * noise)
        )
        figure = figure_mask(target).expand_as(target)
        for row, values in enumerate((plain, plain[figure], noised)):
            errors[row] += values.cpu().double().sum()
            counts[row] += values.numel()
    decibels = 10 * (4 * counts / errors).log10()  # the squared range of the images is 4
    names = ("psnr", "psnr_figure", "psnr_noised")
    quality = {name: round(value, 2) for name, value in zip(names, decibels.tolist(), strict=True)}
    if preset.model.codes:
        held_back = torch.arange(trained, len(images)).split(BATCH)
        encoded = (autoencoder.encode(images.pixels(index)) for index in held_back)
        indices = (part.index for part in encoded if isinstance(part, Quantized))
        quality["perplexity"] = round(perplexity(indices, preset.model.codes), 2)
    return autoencoder, quality
