"""What lies between encoder and decoder: a normal distribution of each latent (KL), or a codebook (VQ).

Rombach et al. 2022, section 3.1: a slight penalty towards N(0, I), or vector quantization, which the decoder
absorbs. Either way diffusion works on continuous latents; a codebook makes a sampler's small errors good.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DECAY = 0.99  # of the moving averages that a codebook is made of
DEAD = 0.03  # of an equal share: a code that is used less is put elsewhere


class Gaussian(NamedTuple):
    """What the encoder says of an image: a normal distribution of each latent. Both (B,C,h,w)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """One draw, differentiable in both (the reparameterization trick)."""
        return self.mean + (0.5 * self.log_variance).exp() * torch.randn_like(self.mean)

    def kl_divergence(self) -> Tensor:
        """KL(self || N(0, I)) in nats, (B,): the sum over all latents of an image."""
        nats = 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)
        return nats.flatten(1).sum(1)


class Quantized(NamedTuple):
    """What the encoder says of an image, and the code nearest to each position."""

    mean: Tensor  # (B,C,h,w), the latents: not yet quantized, see `VectorQuantizer.quantize`
    nearest: Tensor  # (B,C,h,w), without gradient
    index: Tensor  # (B,h,w) int64, which code

    def sample(self) -> Tensor:
        """The latents: nothing is left to chance."""
        return self.mean

    def commitment_loss(self) -> Tensor:
        """Mean squared distance of latents from their codes, (B,), with gradient to the encoder only.

        van den Oord et al. 2017, "Neural Discrete Representation Learning", equation 3, last term.
        """
        return (self.mean - self.nearest).square().flatten(1).mean(1)


class NormalBottleneck(nn.Module):
    """The encoder's output is mean and log-variance; all latents pass."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inputs = 2 * channels

    def forward(self, encoded: Tensor) -> Gaussian:
        """encoded: (B,inputs,h,w)."""
        mean, log_variance = encoded.chunk(2, dim=1)
        return Gaussian(mean, log_variance.clamp(-30, 20))

    def quantize(self, latents: Tensor) -> Tensor:
        """What the decoder gets of latents (B,C,h,w): these themselves."""
        return latents


class VectorQuantizer(nn.Module):
    """The decoder gets the code nearest to each position, and the encoder the gradient as if it were its own.

    van den Oord et al. 2017, section 3. Codes are no parameters but moving averages of the latents that chose
    them (appendix A.1): they need no learning rate and follow the encoder. A code that hardly any position
    chooses is put on a random one of the batch (Dhariwal et al. 2020, "Jukebox", section 3.1), at the first
    step nearly all are. With several processes all have the codes that the first one's share makes.
    """

    codes: Tensor
    usage: Tensor

    def __init__(self, channels: int, codes: int) -> None:
        super().__init__()
        self.inputs = channels
        self.register_buffer("codes", torch.randn(codes, channels))
        self.register_buffer("usage", torch.zeros(codes))  # moving average of each code's share of positions

    def forward(self, encoded: Tensor) -> Quantized:
        """encoded: (B,C,h,w). In training the codes then follow it, unless the encoder is frozen."""
        encoded = encoded.float()
        index = self._index(encoded)
        nearest = self.codes[index].movedim(-1, 1)
        if self.training and encoded.requires_grad:
            self._update_codebook(encoded.detach().movedim(1, -1).flatten(0, -2), index.flatten())
        return Quantized(encoded, nearest, index)

    def quantize(self, latents: Tensor) -> Tensor:
        """The codes nearest to latents (B,C,h,w); the gradient goes straight through to these."""
        nearest = self.codes[self._index(latents)].movedim(-1, 1)
        return latents + (nearest - latents).detach()

    @torch.no_grad()
    def _index(self, latents: Tensor) -> Tensor:
        """(B,C,h,w) -> (B,h,w), the nearest code."""
        with torch.autocast(latents.device.type, enabled=False):
            distances = torch.cdist(latents.float().movedim(1, -1).flatten(0, -2), self.codes)
        return distances.argmin(1).view(len(latents), *latents.shape[2:])

    @torch.no_grad()
    def _update_codebook(self, vectors: Tensor, index: Tensor) -> None:
        """vectors: (N,C); index: (N,), the code that each chose."""
        count = len(self.codes)
        with torch.autocast(vectors.device.type, enabled=False):
            chosen = F.one_hot(index, count).to(vectors)
            total = chosen.T @ vectors / len(vectors)
        usage = self.usage.lerp(chosen.mean(0), 1 - DECAY)
        codes = self.codes * (DECAY * self.usage)[:, None] + (1 - DECAY) * total
        dead = usage < DEAD / count
        anywhere = vectors[torch.randint(len(vectors), (count,), device=vectors.device)]
        self.codes.copy_(torch.where(dead[:, None], anywhere, codes / usage[:, None]))
        self.usage.copy_(torch.where(dead, 1 / count, usage))


def perplexity(indices: Iterable[Tensor], codes: int) -> float:
    """exp of the entropy of the codes' shares: how many of `codes` are in use, were they used alike.

    indices: any shapes, int64, at least one entry in all.
    """
    counts = sum(torch.bincount(index.flatten(), minlength=codes).double() for index in indices)
    return torch.distributions.Categorical(torch.as_tensor(counts)).entropy().exp().item()
