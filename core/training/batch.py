"""Which examples a step takes, and batches of them with everything random, so that they can be divided."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeVar

import torch
from torch import Tensor

Rows = TypeVar("Rows", bound="Batch")


@dataclass(frozen=True, eq=False)
class Batch:
    """Base class of batches, whose fields are tensors and conditions, or None.

    The first field has one row for each example; others have as many, or a multiple, in the same order.
    """

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self: Rows, rows: slice) -> Rows:
        """The examples of a slice of consecutive rows."""
        count = len(self)
        start, stop, _ = rows.indices(count)

        def part(value: Any) -> Any:
            each = len(value) // count
            return value[start * each : stop * each]

        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: part(value) for name, value in values.items() if value is not None})


def batch_indices(size: int, batch: int, seed: int, step: int) -> Tensor:
    """Indices (batch,) of a step's examples: a new permutation every epoch without its incomplete batch."""
    epoch, position = divmod(step, size // batch)
    return _permutation(size, derive_seed(seed, epoch))[position * batch : (position + 1) * batch]


@lru_cache(maxsize=1)
def _permutation(size: int, seed: int) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def derive_seed(*numbers: int) -> int:
    """A 63-bit seed derived from integers by hashing."""
    return int.from_bytes(blake2b(repr(numbers).encode(), digest_size=8).digest(), "big") >> 1
