"""Blocks on a table, seen from the side, and a gripper that carries them: exact rules in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from examples.planning.environment import Array

SPEED = 4.0  # of the gripper along each axis, in blocks a step
REACH = 0.35  # of the gripper around a block's center along each axis, in blocks
TOUCH = 1e-9  # blocks that stand side by side do not overlap
MOST = 6


class Blocks:
    """Square blocks of side 1 on a table: x grows to the right from the table's edge, y upward from its top.

    States are (...,2+3n) for n blocks: the gripper's position (2), whether each block is held (n), and the
    centers of the blocks (2n). Actions are (...,3) in [-1, 1]: the gripper's speed along both axes as a
    share of `SPEED`, and whether it closes (> 0). Goals are states, NaN where any entry will do.

    The gripper moves in front of the blocks and collides with nothing; a block that it carries is stopped by
    others. Closing it takes a block within reach on which nothing rests, and centers the gripper on it.
    Opening it drops the block, which falls onto what is below. When its center is beyond the edge of that, it
    falls on to the nearest free place of the table.
    """

    def __init__(self, count: int) -> None:
        """count: of blocks, 1 to `MOST`."""
        if not 1 <= count <= MOST:
            raise UserError(f"There are 1 to {MOST} blocks, not {count}.")
        self.count = count
        self.low = np.array([0.5, 0.5])
        self.high = np.array([2.0 * count + 1.5, count + 1.0])
        self.placed = slice(2 + count, 2 + 3 * count)

    @property
    def config(self) -> dict[str, Any]:
        """The entry of a model's file; see `make_blocks`."""
        return {"block_count": self.count}

    @property
    def center(self) -> Array:
        """The middle of the range of states."""
        middle = (self.low + self.high) / 2
        return np.concatenate([middle, np.full(self.count, 0.5), np.tile(middle, self.count)])

    @property
    def scale(self) -> Array:
        """Half the range of states."""
        half = (self.high - self.low) / 2
        return np.concatenate([half, np.full(self.count, 0.5), np.tile(half, self.count)])

    def state(self, gripper: Array, places: Array) -> Array:
        """The state (...,S) of an empty gripper (...,2) and of blocks at places (...,n,2)."""
        held = np.zeros((*places.shape[:-2], self.count))
        return np.concatenate([gripper, held, places.reshape(*held.shape[:-1], -1)], axis=-1)

    def places(self, state: Array) -> Array:
        """The centers of the blocks, (...,n,2)."""
        return state[..., self.placed].reshape(*state.shape[:-1], self.count, 2)

    def held(self, state: Array) -> NDArray[np.bool_]:
        """Whether each block is held, (...,n)."""
        return state[..., 2 : 2 + self.count] > 0.5

    def step(self, state: Array, action: Array) -> Array:
        """The next states: the gripper moves, along x and then along y, and then opens or closes."""
        rows = [self._step(*row) for row in zip(state, action, strict=True)]
        return np.stack(rows)

    def action_towards(self, state: Array, planned: Array) -> Array:
        """The action (...,3) to a planned state.

        The gripper moves where it is planned. Where it is to hold a block that it does not hold, it moves to
        that block, however far the plan is off, and closes once it is there.
        """
        wanted, holds = self.held(planned), self.held(state)
        block = np.where(wanted, planned[..., 2 : 2 + self.count], 0).argmax(axis=-1)
        there = np.take_along_axis(self.places(state), np.expand_dims(block, (-2, -1)), axis=-2)[..., 0, :]
        take = wanted.any(axis=-1, keepdims=True) & ~holds.any(axis=-1, keepdims=True)
        away = (np.where(take, there, planned[..., :2]) - state[..., :2]) / SPEED
        arrives = (np.abs(away) <= 1).all(axis=-1, keepdims=True)
        close = wanted.any(axis=-1, keepdims=True) & (arrives | ~take)
        return np.concatenate([np.clip(away, -1, 1), np.where(close, 1.0, -1.0)], axis=-1)

    def goal_state(self, goal: Array) -> Array:
        """Goals are states."""
        return goal

    def goal_of(self, states: Array) -> Array:
        """Goals of the blocks' places, wherever the gripper is."""
        return self.arranged(self.places(states))

    def arranged(self, places: Array) -> Array:
        """The goals (...,S) of blocks at places (...,n,2), of which entries may be NaN: none of them held."""
        return self.state(np.full((*places.shape[:-2], 2), np.nan), places)

    def observe(self, state: Array, goal: Array) -> Array:
        """The state and the blocks' places in the goal, scaled, and which of these are known."""
        wanted = ((goal - self.center) / self.scale)[..., self.placed]
        known = ~np.isnan(wanted)
        return np.concatenate(
            [(state - self.center) / self.scale, np.where(known, wanted, 0), known.astype(float)], axis=-1
        )

    def clear(self, places: Array) -> NDArray[np.bool_]:
        """Whether nothing rests on each of the blocks at places (n,2)."""
        across, up = np.moveaxis(places[None] - places[:, None], -1, 0)
        return ~((np.abs(across) < 1 - TOUCH) & (np.abs(up - 1) < 0.1)).any(axis=1)

    def _step(self, state: Array, action: Array) -> Array:
        gripper, held, places = state[:2].copy(), self.held(state), self.places(state).copy()
        carried = int(held.argmax()) if held.any() else None
        others = places[~held]
        for axis in (0, 1):
            moved = gripper.copy()
            moved[axis] += SPEED * np.clip(action[axis], -1, 1)
            moved[axis] = np.clip(moved[axis], self.low[axis], self.high[axis])
            if carried is not None:
                moved = stop_at_contact(gripper, moved, others, axis)
            gripper = moved
        if carried is not None:
            places[carried] = gripper
            if action[2] <= 0:
                places[carried], carried = self.fall(gripper, others), None
        elif action[2] > 0:
            distance = np.abs(places - gripper).max(axis=1)
            distance[~self.clear(places)] = np.inf
            if distance.min() <= REACH:
                carried = int(distance.argmin())
                gripper = places[carried]
        following = self.state(gripper, places)
        if carried is not None:
            following[2 + carried] = 1.0
        return following

    def fall(self, place: Array, others: Array) -> Array:
        """Where a block (2,) comes to rest that is dropped among others (m,2)."""
        x, y = place
        below = others[(np.abs(others[:, 0] - x) < 1 - TOUCH) & (others[:, 1] < y)]
        if not len(below):
            return np.array([x, 0.5])
        top = below[:, 1].max()
        support = below[below[:, 1] > top - TOUCH, 0]
        if support.min() - 0.5 <= x <= support.max() + 0.5:
            return np.array([x, top + 1])
        table = others[others[:, 1] < 1, 0]
        sides = np.concatenate([table - 1, table + 1])
        within = (sides >= self.low[0]) & (sides <= self.high[0])
        free = within & (np.abs(sides[:, None] - table) > 1 - 2 * TOUCH).all(axis=1)
        return np.array([sides[free][np.abs(sides[free] - x).argmin()], 0.5])


def stop_at_contact(start: Array, end: Array, others: Array, axis: int) -> Array:
    """Where a block stops that moves from start (2,) to end (2,) along one axis, among others (m,2)."""
    direction = 1 if end[axis] > start[axis] else -1
    level = np.abs(others[:, 1 - axis] - start[1 - axis]) < 1 - TOUCH
    distance = direction * (others[:, axis] - start[axis]) - 1  # until they touch
    ahead = distance[level & (distance > -TOUCH)]
    way = min(direction * (end[axis] - start[axis]), ahead.min(initial=np.inf))
    stopped = end.copy()
    stopped[axis] = start[axis] + direction * max(way, 0.0)
    return stopped


def make_blocks(settings: dict[str, Any]) -> Blocks:
    """The environment of a model's settings, from which its entry is taken."""
    return Blocks(settings.pop("block_count"))
