"""diffusers' AutoencoderKL behind the surface of our Autoencoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PIXELS_AT_ONCE = 2 * 512 * 512  # through the autoencoder; its activations need about 4 GB for so many


class KLFirstStage:
    """Images (B,3,H,W) in [-1, 1] <-> the latents (B,C,H/f,W/f) of a checkpoint, both float32.

    However many there are, few pass through at once: else the decoder alone would need more memory than all
    the sampling before it.
    """

    def __init__(self, vae: Any, device: torch.device) -> None:
        self.vae, self.device = vae, device
        shift, deviation = vae.config.get("latents_mean"), vae.config.get("latents_std")
        self.shift = torch.tensor(shift or [0.0], device=device).view(-1, 1, 1)
        self.scale = vae.config.scaling_factor / torch.tensor(deviation or [1.0], device=device).view(
            -1, 1, 1
        )

    @property
    def downscale(self) -> int:
        """f: pixels of the image a latent, across as well as down."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def channels(self) -> int:
        """C of the latents."""
        return self.vae.config.latent_channels

    def to_latents(self, images: Tensor) -> Tensor:
        """The mean of the encoder's distribution, shifted and scaled; with gradient.

        Raises ValueError for images that are not (B,3,H,W) with sides that are multiples of f.
        """
        factor = self.downscale
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % factor or images.shape[3] % factor:
            raise ValueError(
                f"images must be (B,3,H,W), sides multiples of {factor}, not {tuple(images.shape)}"
            )
        parts = images.to(self.device, self.vae.dtype).split(_at_once(images.shape[2] * images.shape[3]))
        means = torch.cat([self.vae.encode(part).latent_dist.mean for part in parts])
        return (means.float() - self.shift) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Images of such latents; not clamped. Raises ValueError unless latents are (B,C,h,w)."""
        if latents.ndim != 4 or latents.shape[1] != self.channels:
            raise ValueError(f"latents must be (B,{self.channels},h,w), not {tuple(latents.shape)}")
        raw = (latents.to(self.device) / self.scale + self.shift).to(self.vae.dtype)
        parts = raw.split(_at_once(latents.shape[2] * latents.shape[3] * self.downscale**2))
        return torch.cat([self.vae.decode(part).sample for part in parts]).float()


def _at_once(pixels: int) -> int:
    """How many images of so many pixels pass through together."""
    return max(1, PIXELS_AT_ONCE // pixels)
