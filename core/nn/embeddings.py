"""Embeddings of a network's conditioning: the timestep, the pooled text, the attributes, and an image."""

import math

import torch
from torch import Tensor, nn

from core.nn.blocks import zero_init


def timestep_embedding(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal timestep embedding, cosines first.

    Ho et al. 2020, "Denoising Diffusion Probabilistic Models", appendix B (after Vaswani et al. 2017, section
    3.5), in the order and spacing of Dhariwal and Nichol 2021: frequencies max_period^(-i / (width/2)).

    Args:
        t: (B,) timesteps, integer or fractional.
        width: even number of channels.

    Returns:
        (B, width) float32 in [-1, 1].

    Raises:
        ValueError: the width is odd.
    """
    if width % 2:
        raise ValueError(f"the width of a timestep embedding must be even, not {width}")
    half = width // 2
    exponent = -math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half
    angle = t.float()[:, None] * exponent.exp()
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean (B,D) of the token states (B,L,D) where the mask (B,L) is true; at least one in every row."""
    weights = mask.to(tokens.dtype)
    weights = weights / weights.sum(dim=1, keepdim=True)
    return (tokens * weights[..., None]).sum(dim=1)


class ConditionEmbedding(nn.Module):
    """Embedding of timestep, pooled text and attributes as one vector, for the adaptive norms.

    The pooled text, the masked mean of the token states, is added as in Saharia et al. 2022 (Imagen), section
    2.5. It conditions every layer of a small network on the subject, also those without attention.

    The effect of camera and phase on the image depends on the subject and its action. The text therefore
    gates the hidden features of the attributes, which is a low-rank bilinear map. The gate is initialized to
    1.
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
        """The embedding (B,width), or (B,n,width) for attributes (B,n,V).

        t: (B,); tokens: (B,L,D); mask: (B,L) bool; attributes: (B,V), or (B,n,V) with n rows per condition.
        """
        pooled = self.text_norm(masked_mean(tokens, mask))
        time = timestep_embedding(t, self.time_width).to(tokens.dtype)
        embedding, gate = self.time(time) + self.text(pooled), self.gate(pooled)
        if attributes.ndim == 3:
            embedding, gate = embedding[:, None], gate[:, None]
        return embedding + self.attributes_out(gate * self.attributes(attributes))


class ImageConditioning(nn.Module):
    """Conditioning on the embedding of an image, as in DALL-E 2's decoder (Ramesh et al. 2022, section 2.1).

    The embedding is projected into tokens for cross-attention, and added to the embedding of the timestep. A
    row of zeros means that none is given: it adds nothing, and its tokens are masked.
    """

    def __init__(self, image_width: int, width: int, context_width: int, tokens: int) -> None:
        super().__init__()
        self.token_count = tokens
        self.added = zero_init(nn.Linear(image_width, width, bias=False))
        self.tokens = nn.Linear(image_width, tokens * context_width, bias=False)
        self.norm = nn.LayerNorm(context_width)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is added, (B,width), the tokens (B,K,context_width), and their mask (B,K).

        image: (B,image_width) embeddings.
        """
        given = image.any(dim=1, keepdim=True).expand(-1, self.token_count)
        tokens = self.norm(self.tokens(image).unflatten(1, (self.token_count, -1)))
        return self.added(image), tokens, given
