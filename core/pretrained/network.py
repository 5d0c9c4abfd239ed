"""diffusers' U-Net with the interface of a network: `(x, t, condition) -> Tensor`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from core.condition import Condition


class DiffusersUNet(nn.Module):
    """A `UNet2DConditionModel` of Stable Diffusion, SDXL or DeepFloyd IF.

    It runs in the dtype of its weights, whatever the dtype of x. The attributes of conditions are not used.
    """

    def __init__(self, unet: Any, downscale: int = 1, guidance: float | None = None) -> None:
        """downscale: pixels along a side of a latent, for SDXL, which is conditioned on the image size.

        guidance: scale that is an input of the network, for latent consistency models.
        """
        super().__init__()
        self.unet = unet
        self.downscale = downscale
        self.guidance = guidance

    def with_guidance(self, scale: float) -> DiffusersUNet:
        """The same network at a guidance scale."""
        return DiffusersUNet(self.unet, self.downscale, scale)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Raw output (B,C,h,w) for x (B,C,h,w) and t (B,); 2C channels with a learned variance."""
        dtype = self.unet.dtype
        added = None
        if condition.pooled is not None:
            added = {"text_embeds": condition.pooled.to(dtype), "time_ids": self._sizes(x).to(dtype)}
        tokens = condition.tokens.to(dtype)
        scale = None
        if self.guidance is not None:
            scale = embed_guidance(self.guidance, self.unet.config.time_cond_proj_dim).to(x.device, dtype)
        return self.unet(
            x.to(dtype), t, timestep_cond=scale, encoder_hidden_states=tokens, added_cond_kwargs=added
        ).sample

    def _sizes(self, x: Tensor) -> Tensor:
        """Size conditioning of SDXL, (B,6): original size, crop offset, target size.

        See Podell et al. 2023, section 2.2. Original and target size are those of x in
        pixels, and the crop offset is zero.
        """
        height, width = (side * self.downscale for side in x.shape[-2:])
        sizes = torch.tensor([height, width, 0, 0, height, width], device=x.device)
        return sizes.expand(len(x), -1)


def embed_guidance(scale: float, width: int) -> Tensor:
    """Embedding (1,width) of a guidance scale: sines and cosines of 1000 (scale - 1), width even.

    Meng et al. 2023, "On Distillation of Guided Diffusion Models", section 3.1; Luo et al. 2023, section 4.2.
    """
    frequencies = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = 1000 * (scale - 1) * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
