"""Training the autoencoder: its preset, its task, and what follows the last step."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from core.errors import UserError
from core.io.weights import load_weights
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.bottleneck import Gaussian, Quantized, perplexity
from core.models.perceptual import PerceptualDistance
from core.training.adversary import Adversary, AdversaryConfig
from core.training.config import TrainingConfig
from core.training.data import Shards
from core.training.trainer import BareNetwork

UNLIKE = 0.1  # of the range [-1, 1]: how far from the backdrop a pixel belongs to the figure
BATCH, SAMPLE = 64, 8192  # images at a time, and in all, of which statistics are taken


class AutoencoderPreset(BaseModel):
    """An autoencoder and how to train it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: AutoencoderConfig = AutoencoderConfig()
    decoder_only: bool = Field(
        default=False, description="train a trained autoencoder's decoder on; latents stay what they are"
    )
    latent_noise: float = Field(
        default=0.15, ge=0, description="typical deviation of the noise on normalized latents, see the task"
    )
    figure_weight: float = Field(default=3.0, ge=0, description="of a figure's pixel beyond a backdrop's 1")
    edge_weight: float = Field(default=0.5, ge=0, description="of the L1 error of differences of neighbors")
    kl_weight: float = Field(default=1e-5, ge=0, description="of the divergence, nats a value of the image")
    commitment: float = Field(
        default=0.25, ge=0, description="of a codebook's commitment loss, van den Oord et al. 2017's beta"
    )
    perceptual_weight: float = Field(
        default=0.0, ge=0, description="of the perceptual distance, which needs a trunk: train features"
    )
    adversary: AdversaryConfig | None = None
    held_back: int = Field(default=1024, ge=1, description="last images, never trained on, for the PSNR")
    training: TrainingConfig = TrainingConfig(batch_size=32, learning_rate=1e-3)

    @model_validator(mode="after")
    def _can_go_backwards_twice(self) -> "AutoencoderPreset":
        if self.adversary and self.training.compile:
            raise ValueError("training.compile must be false with an adversary, whose weight goes backwards")
        return self


class AutoencoderTask:
    """Reconstruction of images from noised latents.

    The noise an image's latents get has deviation |N(0, latent_noise^2)|, so the decoder learns to draw from
    what a sampler leaves a little wrong as well as from the truth (noise-augmented decoding, Zheng et al.
    2025, "Diffusion Transformers with Representation Autoencoders", section 4).
    """

    def __init__(
        self,
        images: Shards,
        preset: AutoencoderPreset,
        perceptual: PerceptualDistance | None = None,
        adversary: Adversary | None = None,
    ) -> None:
        """perceptual, adversary: where the preset has them; the trainer must know the adversary too.

        Raises UserError when the images have another size or are no more than what is held back.
        """
        if bool(perceptual) != bool(preset.perceptual_weight) or bool(adversary) != bool(preset.adversary):
            raise ValueError("the perceptual distance or the adversary is not that of the preset")
        side = images.tables[0].shape[-1]
        if side != preset.model.size:
            raise UserError(f"The images are {side} pixels wide, the autoencoder takes {preset.model.size}.")
        if len(images) <= preset.held_back:
            raise UserError(f"{len(images)} images are too few: {preset.held_back} are held back.")
        self.images, self.preset = images, preset
        self.perceptual, self.adversary = perceptual, adversary

    def __len__(self) -> int:
        return len(self.images) - self.preset.held_back

    def loss(self, model: BareNetwork, index: Tensor) -> Tensor:
        """index: (B,) on the CPU -> loss of each image, (B,)."""
        preset, images = self.preset, self.images.pixels(index)
        noise = preset.latent_noise * torch.randn(len(images)).abs().to(images.device)
        drawn, encoded = model.network(images, noise)
        weight = 1 + preset.figure_weight * figure_mask(images).float()
        drawn = drawn.float()
        reconstruction = weighted_l1(drawn - images, weight, preset.edge_weight)
        if self.perceptual:
            reconstruction = reconstruction + preset.perceptual_weight * self.perceptual(drawn, images)
        loss = reconstruction + self._restraint(encoded, images[0].numel())
        if self.adversary and self.adversary.active:
            loss = loss + self.adversary.loss(images, drawn, reconstruction)
        return loss

    def _restraint(self, encoded: Gaussian | Quantized, values: int) -> Tensor:
        """What the bottleneck asks of latents, weighted, (B,). values: of an image."""
        if isinstance(encoded, Quantized):
            return self.preset.commitment * encoded.commitment_loss()
        return self.preset.kl_weight * encoded.kl_divergence().float() / values


def figure_mask(images: Tensor) -> Tensor:
    """Where images (B,3,H,W) in [-1, 1] show more than a backdrop, (B,1,H,W) bool, widened by a pixel.

    The backdrop of a row is its median color, as the toybox's places change from row to row but hardly
    within one. What else stands out from it, a sun or rain, counts as figure.
    """
    backdrop = images.median(dim=3, keepdim=True).values
    unlike = ((images - backdrop).abs().amax(dim=1, keepdim=True) > UNLIKE).float()
    return F.max_pool2d(unlike, 3, stride=1, padding=1) > 0


def weighted_l1(error: Tensor, weight: Tensor, edge_weight: float) -> Tensor:
    """Weighted mean absolute error of images, (B,), plus `edge_weight` times that of their gradients.

    error: (B,3,H,W); weight: (B,1,H,W). The gradients are differences of neighbors to the right and below:
    a blurred or beaded edge is wrong there even where its colors are nearly right.
    """
    across, down = error.diff(dim=3).abs(), error.diff(dim=2).abs()
    edges = _mean(across, weight[..., 1:]) + _mean(down, weight[..., 1:, :])
    return _mean(error.abs(), weight) + edge_weight * edges


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values.mean(dim=1, keepdim=True) * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)


@torch.no_grad()
def trained_autoencoder(
    task: AutoencoderTask, weights: Mapping[str, Tensor], folder: Path, device: torch.device | str = "cpu"
) -> tuple[Autoencoder, dict[str, float]]:
    """The autoencoder with its trained weights and the statistics of its latents, and its quality.

    Where only the decoder was trained, the statistics stay those it began with.
    weights: of an `Autoencoder`, found in `folder`. The quality is the peak signal-to-noise ratio, dB, of the
    mean squared error over all images held back: of whole images ("psnr"), of their figures, and of images
    drawn from latents with noise of deviation `latent_noise`; of a codebook also its "perplexity" there.
    """
    images, preset, trained = task.images, task.preset, len(task)
    autoencoder = Autoencoder(preset.model)
    load_weights(autoencoder, weights, folder)
    autoencoder = autoencoder.to(device).eval().requires_grad_(False)
    if not preset.decoder_only:
        spread = torch.linspace(0, trained - 1, min(trained, SAMPLE)).long()
        autoencoder.fit_statistics(images.pixels(index) for index in spread.split(BATCH))

    generator = torch.Generator().manual_seed(0)
    errors = torch.zeros(3, dtype=torch.float64)
    counts = torch.zeros(3, dtype=torch.float64)
    for index in torch.arange(trained, len(images)).split(BATCH):
        truth = images.pixels(index)
        latents = autoencoder.to_latents(truth)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        plain, noised = (
            (autoencoder.decode(seen).clamp(-1, 1) - truth).square()
            for seen in (latents, latents + preset.latent_noise * noise)
        )
        where = figure_mask(truth).expand_as(truth)
        for row, values in enumerate((plain, plain[where], noised)):
            errors[row] += values.double().sum().cpu()
            counts[row] += values.numel()
    decibels = 10 * (4 * counts / errors).log10()  # the range is 2, its square 4
    names = ("psnr", "psnr_figure", "psnr_noised")
    quality = {name: round(value, 2) for name, value in zip(names, decibels.tolist(), strict=True)}
    if preset.model.codes:
        kept = torch.arange(trained, len(images)).split(BATCH)
        coded = (autoencoder.encode(images.pixels(index)) for index in kept)
        indices = (part.index for part in coded if isinstance(part, Quantized))
        quality["perplexity"] = round(perplexity(indices, preset.model.codes), 2)
    return autoencoder, quality
