"""Embeddings of what a network is told: the timestep, the pooled text, the attributes."""

import math

import torch
from torch import Tensor, nn


def timestep_embedding(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoids of the timestep, cosines first.

    Ho et al. 2020, "Denoising Diffusion Probabilistic Models", appendix B (after Vaswani et al. 2017, section
    3.5), in the order and spacing of Dhariwal and Nichol 2021: frequencies max_period^(-i / (width/2)).

    Args:
        t: (B,) timesteps, integer or fractional.
        width: even number of channels.

    Returns:
        (B, width) float32 in [-1, 1].
    """
    if width % 2:
        raise ValueError(f"the width of a timestep embedding must be even, not {width}")
    half = width // 2
    exponent = -math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half
    angle = t.float()[:, None] * exponent.exp()
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class ConditionEmbedding(nn.Module):
    """Timestep, pooled text and attributes as one vector, for adaptive normalization.

    The pooled text (masked mean of the token states) is added as in Saharia et al. 2022 (Imagen), section
    2.5: it gives a small network the subject at every layer, attention or not.

    What a camera or a moment of the loop looks like depends on who does what, so the text gates the hidden
    features of the attributes (a low-rank bilinear map); the gate starts open.
    """

    def __init__(self, time_width: int, width: int, context_width: int, attribute_width: int):
        super().__init__()
        self.time_width = time_width
        self.time = nn.Sequential(nn.Linear(time_width, width), nn.SiLU(), nn.Linear(width, width))
        self.text_norm = nn.LayerNorm(context_width)
        self.text = nn.Linear(context_width, width)
        self.attributes = nn.Sequential(nn.Linear(attribute_width, width), nn.SiLU())
        self.gate = nn.Linear(context_width, width)
        self.attributes_out = nn.Linear(width, width)
        nn.init.zeros_(self.gate.weight)
        nn.init.ones_(self.gate.bias)

    def forward(self, t: Tensor, tokens: Tensor, mask: Tensor, attributes: Tensor) -> Tensor:
        """t: (B,); tokens: (B,L,D); mask: (B,L) bool; attributes: (B,V) or (B,F,V).
        Returns (B,width), or (B,F,width) where the attributes are given per frame."""
        weights = mask.to(tokens.dtype)
        weights = weights / weights.sum(dim=1, keepdim=True)
        pooled = (tokens * weights[..., None]).sum(dim=1)
        pooled = self.text_norm(pooled)
        time = timestep_embedding(t, self.time_width).to(tokens.dtype)
        embedding, gate = self.time(time) + self.text(pooled), self.gate(pooled)
        if attributes.ndim == 3:
            embedding, gate = embedding[:, None], gate[:, None]
        return embedding + self.attributes_out(gate * self.attributes(attributes))
