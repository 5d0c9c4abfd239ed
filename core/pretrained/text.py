"""Text encoders of checkpoints: from prompts to token states and, for SDXL, a pooled state; all float32.

Prompts are padded to the full length. The image models attend to the padding, as in their training, so every
position counts as text (the mask of the condition is True everywhere).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from core.attributes import encode_attributes
from core.condition import Condition
from core.prompt_window import read_part

LENGTH_OF_IF = 77  # tokens; its T5 takes more, but IF was trained with this length


class EncodedText(NamedTuple):
    """Token states (B,L,D), and the pooled state (B,P) for image models that use one."""

    tokens: Tensor
    pooled: Tensor | None = None


class CheckpointTextEncoder(Protocol):
    """Encodes prompts for a checkpoint."""

    def __call__(self, prompts: Sequence[str]) -> EncodedText:
        """The states of B prompts."""
        ...

    def read(self, prompt: str, suffix: str = "") -> str:
        """The part of a prompt that is encoded, if a suffix is to follow it; see `read_part`."""
        ...


class CLIPTextEncoder:
    """Last hidden states of one CLIP encoder: Stable Diffusion 1.x and 2.x."""

    def __init__(self, tokenizer: Any, encoder: Any, device: torch.device) -> None:
        """device: of the token ids, and so of the encoder while it runs."""
        self.tokenizer, self.encoder, self.device = tokenizer, encoder, device

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> EncodedText:
        """Token states (B,L,D) of B prompts."""
        ids = _tokenized(self.tokenizer, prompts, self.tokenizer.model_max_length).input_ids
        return EncodedText(self.encoder(ids.to(self.device))[0].float())

    def read(self, prompt: str, suffix: str = "") -> str:
        """As `CheckpointTextEncoder`."""
        return read_tokens(prompt, self.tokenizer, self.tokenizer.model_max_length, suffix)


class DualCLIPTextEncoder:
    """Penultimate hidden states of two CLIP encoders, concatenated, and the second's pooled state: SDXL.

    zeros: encode the empty prompt as zeros, as in SDXL's training (force_zeros_for_empty_prompt).
    """

    def __init__(
        self, tokenizers: Sequence[Any], encoders: Sequence[Any], device: torch.device, zeros: bool
    ) -> None:
        """tokenizers, encoders: two of each, in the same order."""
        self.pairs = list(zip(tokenizers, encoders, strict=True))
        self.device, self.zeros = device, zeros

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> EncodedText:
        """Token states (B,L,D1+D2) and pooled states (B,P) of B prompts."""
        outputs = []
        for tokenizer, encoder in self.pairs:
            ids = _tokenized(tokenizer, prompts, tokenizer.model_max_length).input_ids
            outputs.append(encoder(ids.to(self.device), output_hidden_states=True))
        tokens = torch.cat([states.hidden_states[-2].float() for states in outputs], dim=-1)
        pooled = outputs[-1].text_embeds.float()
        if self.zeros:
            empty = torch.tensor([not prompt for prompt in prompts], device=tokens.device)
            tokens = tokens.masked_fill(empty[:, None, None], 0)
            pooled = pooled.masked_fill(empty[:, None], 0)
        return EncodedText(tokens, pooled)

    def read(self, prompt: str, suffix: str = "") -> str:
        """As `CheckpointTextEncoder`: what both encoders take."""
        for tokenizer, _ in self.pairs:
            prompt = read_tokens(prompt, tokenizer, tokenizer.model_max_length, suffix)
        return prompt


class T5TextEncoder:
    """Last hidden states of a T5 encoder, which masks the padding in its own attention: DeepFloyd IF."""

    def __init__(self, tokenizer: Any, encoder: Any, device: torch.device) -> None:
        """device: of the token ids, and so of the encoder while it runs."""
        self.tokenizer, self.encoder, self.device = tokenizer, encoder, device

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> EncodedText:
        """Token states (B,77,D) of B prompts."""
        lower = [prompt.lower().strip() for prompt in prompts]
        tokenized = _tokenized(self.tokenizer, lower, LENGTH_OF_IF)
        mask = tokenized.attention_mask.to(self.device)
        return EncodedText(self.encoder(tokenized.input_ids.to(self.device), attention_mask=mask)[0].float())

    def read(self, prompt: str, suffix: str = "") -> str:
        """As `CheckpointTextEncoder`."""
        return read_tokens(prompt, self.tokenizer, LENGTH_OF_IF, suffix)


def checkpoint_text_encoder(pipeline: Any, device: torch.device) -> CheckpointTextEncoder:
    """The text encoder of a pipeline's class. device: of the encoders while they run."""
    p = pipeline
    match type(p).__name__:
        case "StableDiffusionXLPipeline":
            zeros = bool(p.config.get("force_zeros_for_empty_prompt", True))
            return DualCLIPTextEncoder(
                (p.tokenizer, p.tokenizer_2), (p.text_encoder, p.text_encoder_2), device, zeros
            )
        case "IFPipeline":
            return T5TextEncoder(p.tokenizer, p.text_encoder, device)
        case _:
            return CLIPTextEncoder(p.tokenizer, p.text_encoder, device)


def full_condition(text: EncodedText) -> Condition:
    """Condition of encoded text, of which every position counts, without attributes."""
    mask = torch.ones(text.tokens.shape[:2], dtype=torch.bool, device=text.tokens.device)
    attributes = encode_attributes(len(mask)).to(text.tokens)
    return Condition(text.tokens, mask, attributes, text.pooled)


def _tokenized(tokenizer: Any, prompts: Sequence[str], length: int) -> Any:
    """Token ids and attention mask, (B,length) each; a notice tells what of a prompt is truncated."""
    tokenized = tokenizer(
        list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    for prompt in prompts:
        read_tokens(prompt, tokenizer, length)
    return tokenized


def read_tokens(prompt: str, tokenizer: Any, length: int, suffix: str = "") -> str:
    """The part of a prompt whose tokens, with those of a suffix, are at most `length`; see `read_part`.

    tokenizer: of transformers.
    """
    return read_part(prompt, length, lambda text: len(tokenizer(text + suffix, verbose=False).input_ids))
