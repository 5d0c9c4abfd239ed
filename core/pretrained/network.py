"""diffusers' U-Net as a Network: `(x, t, condition) -> Tensor`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from core.condition import Condition


class DiffusersUNet(nn.Module):
    """A `UNet2DConditionModel` of Stable Diffusion, SDXL or DeepFloyd IF.

    Calculates in the type of its weights, whatever x is. The attributes of conditions do not reach it.
    """

    def __init__(self, unet: Any, downscale: int = 1) -> None:
        """downscale: pixels of the image a latent, for SDXL, which is told the picture's size."""
        super().__init__()
        self.unet = unet
        self.downscale = downscale

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """x: (B,C,h,w); t: (B,). With learned variance 2C channels."""
        dtype = self.unet.dtype
        added = None
        if condition.pooled is not None:
            added = {"text_embeds": condition.pooled.to(dtype), "time_ids": self._sizes(x).to(dtype)}
        tokens = condition.tokens.to(dtype)
        return self.unet(x.to(dtype), t, encoder_hidden_states=tokens, added_cond_kwargs=added).sample

    def _sizes(self, x: Tensor) -> Tensor:
        """SDXL's size conditions (B,6): original size, top left corner of the crop, target size.

        Podell et al. 2023, section 2.2. Both sizes are the requested one, and the crop starts at (0, 0).
        """
        height, width = (side * self.downscale for side in x.shape[-2:])
        sizes = torch.tensor([height, width, 0, 0, height, width], device=x.device)
        return sizes.expand(len(x), -1)
