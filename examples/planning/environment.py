"""What a planner uses of the environment that its plans are followed in."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Environment(Protocol):
    """Dynamics of states (...,S) under actions (...,A), and goals (...,G) that are known of a last state."""

    @property
    def center(self) -> Array:
        """What is subtracted from states, (S,), before they are divided by `scale`."""
        ...

    @property
    def scale(self) -> Array:
        """Half the range of every entry of a state, (S,)."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """What the file of a model stores of its environment."""
        ...

    def step(self, state: Array, action: Array) -> Array:
        """The next state."""
        ...

    def action_towards(self, state: Array, planned: Array) -> Array:
        """The action that leads to a planned next state (...,S), or as close to it as actions lead."""
        ...

    def goal_state(self, goal: Array) -> Array:
        """What is known of the last state, (...,S): NaN where nothing is."""
        ...

    def goal_of(self, states: Array) -> Array:
        """A goal (B,G) that each of these states (B,S) fulfills."""
        ...

    def observe(self, state: Array, goal: Array) -> Array:
        """The input (B,I) of a policy: state and goal, scaled to about [-1, 1]."""
        ...
