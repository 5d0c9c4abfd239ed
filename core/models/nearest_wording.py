"""Nearest wording by cosine similarity of sentence embeddings (Reimers & Gurevych 2019, "Sentence-BERT")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from core.models.text_encoder import MAX_TOKENS, TextEncoder, token_count
from core.prompt_window import read_part


def nearest_wording(text: str, candidates: Sequence[str]) -> tuple[int, float]:
    """Index of the candidate nearest in meaning to a text, and their cosine similarity in [-1, 1].

    Raises UserError when the text encoder is not installed.
    """
    similarity = _embeddings(tuple(candidates)) @ _embed([text])[0]
    index = int(similarity.argmax())
    return index, float(similarity[index])


def within_window(text: str, finish: Callable[[str], str]) -> str:
    """The beginning of a text that fits the text encoder once it is finished; see `read_part`."""
    return read_part(text, MAX_TOKENS, lambda part: token_count(finish(part)))


@cache
def _encoder() -> TextEncoder:
    return TextEncoder()


@cache
def _embeddings(texts: tuple[str, ...]) -> Tensor:
    return _embed(texts)


def _embed(texts: Sequence[str]) -> Tensor:
    """Unit vectors (N,384): the mean over the token states, as all-MiniLM-L6-v2 is trained."""
    means = torch.stack([states.mean(dim=0) for states in _encoder().states(texts)])
    return torch.nn.functional.normalize(means, dim=1)
