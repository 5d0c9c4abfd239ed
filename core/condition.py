"""The condition of a denoiser: token states of the text, and attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

EMBEDDINGS = ("pooled", "image")  # fields that most models have not: one vector for each row


@dataclass(frozen=True, eq=False)
class Condition:
    """A batch of B conditions.

    tokens: (B,L,D) token states of the text encoder.
    mask: (B,L) bool, True for real tokens, False for padding; at least one True in every row.
    attributes: (B,V), or (B,F,V) with one row per frame of a clip; see `core.attributes`. Zeros mean
        "not given".
    pooled: (B,P) pooled text embedding, for models that need one (SDXL); None elsewhere.
    image: (B,P) embedding of an image, for decoders of such embeddings (`core.models.unclip`); zeros mean
        "not given". None elsewhere.

    Raises ValueError when the shapes disagree.
    """

    tokens: Tensor
    mask: Tensor
    attributes: Tensor
    pooled: Tensor | None = None
    image: Tensor | None = None

    def __post_init__(self) -> None:
        if self.tokens.ndim != 3 or self.mask.shape != self.tokens.shape[:2]:
            raise ValueError(
                f"tokens {tuple(self.tokens.shape)} and mask {tuple(self.mask.shape)}: "
                "expected (B,L,D) and (B,L)"
            )
        if self.attributes.ndim not in (2, 3) or len(self.attributes) != len(self.tokens):
            raise ValueError(
                f"attributes {tuple(self.attributes.shape)}: expected (B,V) or (B,F,V), "
                f"B = {len(self.tokens)}"
            )
        for name in EMBEDDINGS:
            embedding = getattr(self, name)
            if embedding is not None and (embedding.ndim != 2 or len(embedding) != len(self.tokens)):
                raise ValueError(f"{name} {tuple(embedding.shape)}: expected (B,P), B = {len(self.tokens)}")

    def _map(self, function: Callable[[Tensor], Tensor]) -> Condition:
        """The condition with every tensor replaced by a function of it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(value) for name, value in values.items() if value is not None})

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None = None) -> Condition:
        """The condition on `device`, with all tensors but the mask cast to `dtype`."""
        return self._map(lambda x: x.to(device=device, dtype=None if x.dtype == torch.bool else dtype))

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def __getitem__(self, index: int | slice | Tensor) -> Condition:
        """The rows selected by a slice, an index tensor or a bool tensor; an int selects a batch of one."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"row {index} of {len(self)}")  # also ends `for row in condition`
            index = slice(index % len(self), index % len(self) + 1)
        return self._map(lambda x: x[index])

    def repeat_interleave(self, count: int) -> Condition:
        """Every row repeated `count` times: a, b -> a, a, b, b."""
        return self._map(lambda x: x.repeat_interleave(count, dim=0))

    @staticmethod
    def cat(conditions: Sequence[Condition]) -> Condition:
        """The concatenation of several batches; shorter texts are padded to the longest L, with masked zeros.

        Raises ValueError when some of the conditions have an embedding and others do not.
        """
        embeddings: dict[str, Tensor | None] = {}
        for name in EMBEDDINGS:
            rows = [row for c in conditions if (row := getattr(c, name)) is not None]
            if rows and len(rows) != len(conditions):
                raise ValueError(f"{len(rows)} of {len(conditions)} conditions have the embedding {name!r}")
            embeddings[name] = torch.cat(rows) if rows else None
        length = max(condition.tokens.shape[1] for condition in conditions)
        missing = [length - condition.tokens.shape[1] for condition in conditions]
        return Condition(
            torch.cat([F.pad(c.tokens, (0, 0, 0, m)) for c, m in zip(conditions, missing, strict=True)]),
            torch.cat([F.pad(c.mask, (0, m), value=False) for c, m in zip(conditions, missing, strict=True)]),
            torch.cat([c.attributes for c in conditions]),
            **embeddings,
        )


def no_condition(count: int, device: torch.device | str) -> Condition:
    """The condition of a denoiser that reads none, of length `count`."""
    ones = torch.ones(count, 1, device=device)
    return Condition(ones[..., None], ones.bool(), ones)
