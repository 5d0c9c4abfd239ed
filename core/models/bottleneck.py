"""Bottlenecks of the autoencoder: a normal distribution of each latent (KL), or a codebook (VQ).

Rombach et al. 2022, section 3.1: a slight KL penalty towards N(0, I), or vector quantization as the first
layer of the decoder. In both cases diffusion works on continuous latents. A codebook corrects a sampler's
small errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DECAY = 0.99  # of the moving averages that make the codebook
DEAD = 0.03  # fraction of an equal share of positions: a code that is used less is replaced


class Gaussian(NamedTuple):
    """Encoder output of the KL bottleneck: a normal distribution of each latent. Both (B,C,h,w)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """A sample (B,C,h,w), differentiable in mean and log-variance (the reparameterization trick)."""
        return self.mean + (0.5 * self.log_variance).exp() * torch.randn_like(self.mean)

    def kl_divergence(self) -> Tensor:
        """KL divergence KL(self || N(0, I)) in nats, (B,): the sum over all latents of an image."""
        nats = 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)
        return nats.flatten(1).sum(1)


class Quantized(NamedTuple):
    """Encoder output of the VQ bottleneck, and the code nearest to each position."""

    mean: Tensor  # (B,C,h,w), the latents, not yet quantized: see `VectorQuantizer.quantize`
    nearest: Tensor  # (B,C,h,w), the nearest codes, without gradient
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  # (B,h,w) int64 of the nearest codes

    def sample(self) -> Tensor:
        """The latents (B,C,h,w) themselves: this bottleneck is deterministic."""
        return self.mean

    def commitment_loss(self) -> Tensor:
        """Commitment loss, (B,): mean squared distance of latents from their codes.

        The gradient reaches the encoder only.

        van den Oord et al. 2017, "Neural Discrete Representation Learning", equation 3, last term.
        """
        return (self.mean - self.nearest).square().flatten(1).mean(1)


class NormalBottleneck(nn.Module):
    """KL bottleneck: the encoder predicts mean and log-variance; the decoder gets the latents unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inputs = 2 * channels

    def forward(self, encoded: Tensor) -> Gaussian:
        """The distribution of latents (B,C,h,w) that the encoder output (B,inputs,h,w) describes."""
        mean, log_variance = encoded.chunk(2, dim=1)
        return Gaussian(mean, log_variance.clamp(-30, 20))

    def quantize(self, latents: Tensor) -> Tensor:
        """The decoder's input for latents (B,C,h,w): the latents unchanged."""
        return latents


class VectorQuantizer(nn.Module):
    """VQ bottleneck: the decoder gets the code nearest to each position, with a straight-through gradient.

    van den Oord et al. 2017, section 3. Codes are not parameters but moving averages of the latents assigned
    to them (appendix A.1), so they need no learning rate and follow the encoder. A code with hardly any
    assigned positions is replaced by a random latent of the batch (Dhariwal et al. 2020, "Jukebox", section
    3.1). In the first step this applies to nearly all codes. With several processes, all use the codes
    computed from the first process's share of the batch.
    """

    codes: Tensor
    usage: Tensor

    def __init__(self, channels: int, codes: int) -> None:
        super().__init__()
        self.inputs = channels
        self.register_buffer("codes", torch.randn(codes, channels))
        self.register_buffer("usage", torch.zeros(codes))  # moving average of each code's share of positions

    def forward(self, encoded: Tensor) -> Quantized:
        """The latents (B,C,h,w) and their codes.

        In training mode it also updates the codebook, unless the encoder is frozen.
        """
        encoded = encoded.float()
        index = self._index(encoded)
        nearest = self.codes[index].movedim(-1, 1)
        if self.training and encoded.requires_grad:
            self._update_codebook(encoded.detach().movedim(1, -1).flatten(0, -2), index.flatten())
        return Quantized(encoded, nearest, index)

    def quantize(self, latents: Tensor) -> Tensor:
        """The codes nearest to latents (B,C,h,w), with a straight-through gradient to the latents."""
        nearest = self.codes[self._index(latents)].movedim(-1, 1)
        return latents + (nearest - latents).detach()

    @torch.no_grad()
    def _index(self, latents: Tensor) -> Tensor:
        """Indices (B,h,w) of the codes nearest to latents (B,C,h,w)."""
        with torch.autocast(latents.device.type, enabled=False):
            distances = torch.cdist(latents.float().movedim(1, -1).flatten(0, -2), self.codes)
        return distances.argmin(1).view(len(latents), *latents.shape[2:])

    @torch.no_grad()
    def _update_codebook(self, vectors: Tensor, index: Tensor) -> None:
        """Updates the moving averages. vectors: (N,C) latents; index: (N,) their codes."""
        count = len(self.codes)
        with torch.autocast(vectors.device.type, enabled=False):
            assignment = F.one_hot(index, count).to(vectors)
            total = assignment.T @ vectors / len(vectors)
        usage = self.usage.lerp(assignment.mean(0), 1 - DECAY)
        codes = self.codes * (DECAY * self.usage)[:, None] + (1 - DECAY) * total
        dead = usage < DEAD / count
        replacements = vectors[torch.randint(len(vectors), (count,), device=vectors.device)]
        self.codes.copy_(torch.where(dead[:, None], replacements, codes / usage[:, None]))
        self.usage.copy_(torch.where(dead, 1 / count, usage))


def perplexity(indices: Iterable[Tensor], codes: int) -> float:
    """Perplexity of the codebook's usage: exp of the entropy of the codes' shares, in [1, codes].

    It is the number of codes in use if they were used equally often.

    indices: int64 code indices of any shapes, at least one in total; codes: size of the codebook.
    """
    counts = sum(torch.bincount(index.flatten(), minlength=codes).cpu().double() for index in indices)
    return torch.distributions.Categorical(torch.as_tensor(counts)).entropy().exp().item()
