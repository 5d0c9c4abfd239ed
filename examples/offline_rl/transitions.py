"""Transitions of an environment: the only thing that offline reinforcement learning sees of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.io.atomic import atomic_write

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Transitions:
    """N steps of an environment, float32.

    states, next_states: (N,S); actions: (N,A) in [-1, 1]; rewards: (N,).
    terminals: (N,), 1 where the episode ended in next_states for good; 0 where it only ran out of time.
    """

    states: Array
    actions: Array
    rewards: Array
    next_states: Array
    terminals: Array

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Transitions:
        """The transitions of some rows."""
        return Transitions(*(getattr(self, field.name)[rows] for field in fields(self)))

    def save(self, path: Path) -> None:
        """Writes an .npz file without pickled objects."""
        with atomic_write(path) as draft:
            np.savez(draft, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Transitions:
        """The transitions of a file. Raises UserError when there is none, or when it is another file."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except FileNotFoundError as error:
            raise UserError(
                f"There are no data at {path}: make them with examples.offline_rl.behavior."
            ) from error
        except (KeyError, ValueError, OSError) as error:
            raise UserError(
                f"{path} does not hold transitions: delete it and make the data again."
            ) from error

    @classmethod
    def cat(cls, parts: list[Transitions]) -> Transitions:
        """The transitions of several sets, in order."""
        columns = ([getattr(part, field.name) for part in parts] for field in fields(cls))
        return cls(*(np.concatenate(column) for column in columns))
