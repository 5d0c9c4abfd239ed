"""The latent ordering: with the same layers, a latent model samples faster than a pixel model, as well."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.digits import CLASSES, Digits, Judge, sample, train, train_denoiser
from core.attributes import WIDTH
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.losses import simple_loss
from core.models.autoencoder import Autoencoder, AutoencoderConfig
from core.models.bottleneck import Gaussian
from core.nn.flops import FlopCounter
from core.nn.unet import UNet, UNetConfig
from dreamlift.evaluation.distribution_metrics import frechet_distance

SIZE = 32  # side of the enlarged digits
BATCH = 32
PIXEL_STEPS, FIRST_STAGE_STEPS, LATENT_STEPS = 1500, 200, 300  # training steps
PART, PARTS = 50, 10  # samples per batch, and number of batches; all samples are scored


class Figures(NamedTuple):
    """Figures of one model. Training is counted in FLOPs, which are the same on every machine."""

    distance: float  # Frechet distance of the samples from the training data
    milliseconds: float  # processor time per sample, including decoding
    training_gflop: float


def autoencoder(data: Digits, steps: int) -> Autoencoder:
    """A light first stage with latents (4,8,8), trained to reconstruct the data."""
    model = Autoencoder(AutoencoderConfig(size=SIZE, latent_channels=4, widths=(16, 32)))

    def loss(index: Tensor) -> Tensor:
        images = data.images[index]
        noise = 0.1 * torch.randn(len(images)).abs()
        reconstruction, encoded = model(images, noise)
        assert isinstance(encoded, Gaussian)
        return F.mse_loss(reconstruction, images) + 1e-6 * encoded.kl_divergence().mean()

    train(model, loss, len(data.labels), steps, BATCH)
    model.eval().requires_grad_(False).fit_statistics(data.images.split(BATCH))
    return model


def denoiser(channels: int, clip: float | None) -> Denoiser:
    """The U-Net of both models, which differ only in their input and output channels."""
    config = UNetConfig(
        in_channels=channels,
        patch=1,
        widths=(16, 32),
        blocks=(1, 1),
        attention=(False, False),
        context_width=CLASSES,
        attribute_width=WIDTH,
    )
    return Denoiser(UNet(config), NoiseSchedule.cosine(), Parameterization.V, clip)


def compare(data: Digits, judge: Judge, seed: int, effort: float) -> dict[str, Figures]:
    """Trains both models and returns their figures.

    The pixel model gets more training, in FLOPs, than the latent model and its first stage together.

    effort: multiplies all training steps.
    """
    real = judge.features(data.images)

    def figures(
        model: Denoiser, shape: tuple[int, int, int], decode: Callable[[Tensor], Tensor], flops: float
    ) -> Figures:
        """Samples a model; the time is that of the fastest batch."""
        best, samples = float("inf"), []
        for part in range(PARTS):
            start = time.thread_time()
            x = sample(model, shape, torch.arange(PART) % CLASSES, seed=part * PART)
            samples.append(decode(x).clamp(-1, 1))
            best = min(best, time.thread_time() - start)
        distance = frechet_distance(real, judge.features(torch.cat(samples)))
        return Figures(distance, best / PART * 1e3, flops / 1e9)

    torch.manual_seed(seed)
    with FlopCounter() as flops:
        pixels = denoiser(3, clip=1.0)
        train_denoiser(pixels, simple_loss, data, round(effort * PIXEL_STEPS), BATCH)
    results = {"pixels": figures(pixels, (3, SIZE, SIZE), lambda x: x, flops.total)}

    torch.manual_seed(seed)
    with FlopCounter() as flops:
        first_stage = autoencoder(data, round(effort * FIRST_STAGE_STEPS))
        latents = Digits(
            torch.cat([first_stage.to_latents(part) for part in data.images.split(BATCH)]), data.labels
        )
        model = denoiser(4, clip=None)
        train_denoiser(model, simple_loss, latents, round(effort * LATENT_STEPS), BATCH)
    return results | {"latents": figures(model, (4, 8, 8), first_stage.decode, flops.total)}
