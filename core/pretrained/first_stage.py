"""diffusers' AutoencoderKL behind the interface of this project's Autoencoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PIXELS_AT_ONCE = 2 * 512 * 512  # per call of the autoencoder; its activations then need about 4 GB


class KLFirstStage:
    """Autoencoder of a checkpoint: images (B,3,H,W) in [-1, 1] and latents (B,C,H/f,W/f), both float32.

    Batches are split into parts of at most `PIXELS_AT_ONCE` pixels. Otherwise the decoder would need more
    memory than sampling.
    """

    def __init__(self, vae: Any, device: torch.device) -> None:
        """vae: diffusers' AutoencoderKL. device: of the results."""
        self.vae, self.device = vae, device
        shift, deviation = vae.config.get("latents_mean"), vae.config.get("latents_std")
        self.shift = torch.tensor(shift or [0.0], device=device).view(-1, 1, 1)
        self.scale = vae.config.scaling_factor / torch.tensor(deviation or [1.0], device=device).view(
            -1, 1, 1
        )

    @property
    def downscale(self) -> int:
        """f: pixels along a side of a latent."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def channels(self) -> int:
        """C: channels of the latents."""
        return self.vae.config.latent_channels

    def to_latents(self, images: Tensor) -> Tensor:
        """Latents: the mean of the encoder's distribution, shifted and scaled; with gradient.

        Raises ValueError unless images are (B,3,H,W) with H and W multiples of f.
        """
        factor = self.downscale
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % factor or images.shape[3] % factor:
            raise ValueError(
                f"images must be (B,3,H,W), H and W multiples of {factor}, not {tuple(images.shape)}"
            )
        parts = images.to(self.device, self.vae.dtype).split(_at_once(images.shape[2] * images.shape[3]))
        means = torch.cat([self.vae.encode(part).latent_dist.mean for part in parts])
        return (means.float() - self.shift) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B,3,H,W), not clamped. Raises ValueError unless latents are (B,C,h,w)."""
        if latents.ndim != 4 or latents.shape[1] != self.channels:
            raise ValueError(f"latents must be (B,{self.channels},h,w), not {tuple(latents.shape)}")
        raw = (latents.to(self.device) / self.scale + self.shift).to(self.vae.dtype)
        parts = raw.split(_at_once(latents.shape[2] * latents.shape[3] * self.downscale**2))
        return torch.cat([self.vae.decode(part).sample for part in parts]).float()


def _at_once(pixels: int) -> int:
    """Number of images of so many pixels per call of the autoencoder, at least 1."""
    return max(1, PIXELS_AT_ONCE // pixels)
