"""Batches that hold everything random about a step, so that they can be divided."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

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
