"""The text encoders of checkpoints: prompts -> tokens, mask and perhaps a pooled state, all float32.

Every one pads to its full length and lets the image model attend to the padding, as it did in training, so
the mask is True throughout.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

LENGTH_OF_IF = 77  # tokens; its T5 could take more, but IF was trained with so many


class EncodedText(NamedTuple):
    """tokens (B,L,D), and pooled (B,P) where the image model asks for it."""

    tokens: Tensor
    pooled: Tensor | None = None


CheckpointTextEncoder = Callable[[Sequence[str]], EncodedText]


class CLIPTextEncoder:
    """The last states of one CLIP encoder: Stable Diffusion 1.x and 2.x."""

    def __init__(self, tokenizer: Any, encoder: Any, device: torch.device) -> None:
        self.tokenizer, self.encoder, self.device = tokenizer, encoder, device

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> EncodedText:
        """The encoded prompts; no pooled state."""
        ids = _tokenized(self.tokenizer, prompts, self.tokenizer.model_max_length).input_ids
        return EncodedText(self.encoder(ids.to(self.device))[0].float())


class DualCLIPTextEncoder:
    """The last states but one of two CLIP encoders side by side, and the pooled state of the second: SDXL.

    zeros: whether the empty prompt is zeros, as in SDXL's training (force_zeros_for_empty_prompt).
    """

    def __init__(
        self, tokenizers: Sequence[Any], encoders: Sequence[Any], device: torch.device, zeros: bool
    ) -> None:
        self.pairs = list(zip(tokenizers, encoders, strict=True))
        self.device, self.zeros = device, zeros

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> EncodedText:
        """The encoded prompts with their pooled states."""
        said = []
        for tokenizer, encoder in self.pairs:
            ids = _tokenized(tokenizer, prompts, tokenizer.model_max_length).input_ids
            said.append(encoder(ids.to(self.device), output_hidden_states=True))
        tokens = torch.cat([states.hidden_states[-2].float() for states in said], dim=-1)
        pooled = said[-1].text_embeds.float()
        if self.zeros:
            empty = torch.tensor([not prompt for prompt in prompts], device=tokens.device)
            tokens = tokens.masked_fill(empty[:, None, None], 0)
            pooled = pooled.masked_fill(empty[:, None], 0)
        return EncodedText(tokens, pooled)


class T5TextEncoder:
    """The states of a T5 encoder, which does not look at the padding itself: DeepFloyd IF."""

    def __init__(self, tokenizer: Any, encoder: Any, device: torch.device) -> None:
        self.tokenizer, self.encoder, self.device = tokenizer, encoder, device

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> EncodedText:
        """The encoded prompts, in lower case as in IF's training; no pooled state."""
        lower = [prompt.lower().strip() for prompt in prompts]
        said = _tokenized(self.tokenizer, lower, LENGTH_OF_IF)
        mask = said.attention_mask.to(self.device)
        return EncodedText(self.encoder(said.input_ids.to(self.device), attention_mask=mask)[0].float())


def _tokenized(tokenizer: Any, prompts: Sequence[str], length: int) -> Any:
    """Token ids of full length; a prompt that is longer is cut, and a warning says so."""
    said = tokenizer(
        list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    for prompt in prompts:
        if len(tokenizer(prompt).input_ids) > length:
            warnings.warn(
                f"The text encoder reads {length} tokens and leaves out the end of: {prompt}", stacklevel=4
            )
    return said
