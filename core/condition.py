"""The condition of a denoiser: token states of the text, and attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Condition:
    """A batch of B conditions.

    tokens: (B,L,D) token states of the text encoder.
    mask: (B,L) bool, True for real tokens, False for padding; at least one True in every row.
    attributes: (B,V), or (B,F,V) with one row per frame of a clip; see `core.attributes`. Zeros mean
        "not given".
    pooled: (B,P) pooled text embedding, for models that need one (SDXL); None elsewhere.

    Raises ValueError when the shapes disagree.
    """

    tokens: Tensor
    mask: Tensor
    attributes: Tensor
    pooled: Tensor | None = None

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
        if self.pooled is not None and (self.pooled.ndim != 2 or len(self.pooled) != len(self.tokens)):
            raise ValueError(f"pooled {tuple(self.pooled.shape)}: expected (B,P), B = {len(self.tokens)}")

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None = None) -> Condition:
        """The condition on `device`, with all tensors but the mask cast to `dtype`."""
        return Condition(
            self.tokens.to(device=device, dtype=dtype),
            self.mask.to(device=device),
            self.attributes.to(device=device, dtype=dtype),
            None if self.pooled is None else self.pooled.to(device=device, dtype=dtype),
        )

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def __getitem__(self, index: int | slice | Tensor) -> Condition:
        """The rows selected by a slice, an index tensor or a bool tensor; an int selects a batch of one."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"row {index} of {len(self)}")  # also ends `for row in condition`
            index = slice(index % len(self), index % len(self) + 1)
        pooled = None if self.pooled is None else self.pooled[index]
        return Condition(self.tokens[index], self.mask[index], self.attributes[index], pooled)

    def repeat_interleave(self, count: int) -> Condition:
        """Every row repeated `count` times: a, b -> a, a, b, b."""
        return Condition(
            self.tokens.repeat_interleave(count, dim=0),
            self.mask.repeat_interleave(count, dim=0),
            self.attributes.repeat_interleave(count, dim=0),
            None if self.pooled is None else self.pooled.repeat_interleave(count, dim=0),
        )

    @staticmethod
    def cat(conditions: Sequence[Condition]) -> Condition:
        """The concatenation of several batches; shorter texts are padded to the longest L, with masked zeros.

        Raises ValueError when some of the conditions have a pooled embedding and others do not.
        """
        pooled = [condition.pooled for condition in conditions if condition.pooled is not None]
        if pooled and len(pooled) != len(conditions):
            raise ValueError(f"{len(pooled)} of {len(conditions)} conditions have a pooled embedding")
        length = max(condition.tokens.shape[1] for condition in conditions)
        missing = [length - condition.tokens.shape[1] for condition in conditions]
        return Condition(
            torch.cat([F.pad(c.tokens, (0, 0, 0, m)) for c, m in zip(conditions, missing, strict=True)]),
            torch.cat([F.pad(c.mask, (0, m), value=False) for c, m in zip(conditions, missing, strict=True)]),
            torch.cat([c.attributes for c in conditions]),
            torch.cat(pooled) if pooled else None,
        )


def no_condition(count: int, device: torch.device | str) -> Condition:
    """The condition of a denoiser that reads none, of length `count`."""
    ones = torch.ones(count, 1, device=device)
    return Condition(ones[..., None], ones.bool(), ones)
