"""diffusers' U-Net with the interface of a network: `(x, t, condition) -> Tensor`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from core.condition import Condition


class DiffusersUNet(nn.Module):
    """A `UNet2DConditionModel` of Stable Diffusion, SDXL or DeepFloyd IF.

    It runs in the dtype of its weights, whatever the dtype of x. The attributes of conditions are not used.
    """

    def __init__(self, unet: Any, downscale: int = 1) -> None:
        """downscale: pixels along a side of a latent, for SDXL, which is conditioned on the image size."""
        super().__init__()
        self.unet = unet
        self.downscale = downscale

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Raw output (B,C,h,w) for x (B,C,h,w) and t (B,); 2C channels with a learned variance."""
        dtype = self.unet.dtype
        added = None
        if condition.pooled is not None:
            added = {"text_embeds": condition.pooled.to(dtype), "time_ids": self._sizes(x).to(dtype)}
        tokens = condition.tokens.to(dtype)
        return self.unet(x.to(dtype), t, encoder_hidden_states=tokens, added_cond_kwargs=added).sample

    def _sizes(self, x: Tensor) -> Tensor:
        """Size conditioning of SDXL, (B,6): original size, crop offset, target size.

        See Podell et al. 2023, section 2.2. Original and target size are those of x in
        pixels, and the crop offset is zero.
        """
        height, width = (side * self.downscale for side in x.shape[-2:])
        sizes = torch.tensor([height, width, 0, 0, height, width], device=x.device)
        return sizes.expand(len(x), -1)
