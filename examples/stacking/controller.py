"""A scripted controller that builds arrangements of blocks, and trajectories of it to learn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from examples.planning.environment import Array
from examples.stacking.blocks import SPEED, Blocks

NOISE = 0.03  # standard deviation of the noise on each move, in blocks
NEAR = 0.1  # a block is at its place within this distance
DRIFT = 0.3  # of what is carried from above its place, at most, while it is lowered
CLEARANCE = 0.2  # between what is carried and what it is carried over
GAP = 1.2  # between the centers of blocks on the table, at least


class Builder:
    """The moves of one task: blocks are brought to their goal places, the lower ones first."""

    def __init__(self, blocks: Blocks, goal: Array, rng: np.random.Generator) -> None:
        """goal: places (n,2) of an arrangement; see `draw_arrangement`."""
        self.blocks, self.goal, self.rng = blocks, goal, rng
        self.order = np.argsort(goal[:, 1], kind="stable")
        self.move: tuple[int, Array] | None = None

    def action(self, state: Array) -> Array:
        """The next action (3,), without noise; zero when the goal is reached."""
        places, held = self.blocks.places(state), self.blocks.held(state)
        if held.any() and self.move is not None:
            return self._carry(state[:2], places[~held], self.move[1])
        self.move = self.next_move(places)
        if self.move is None:
            return np.array([0.0, 0.0, -1.0])
        away = (places[self.move[0]] - state[:2]) / SPEED
        return np.array([*np.clip(away, -1, 1), 1.0 if np.abs(away).max() <= 1 else -1.0])

    def next_move(self, places: Array) -> tuple[int, Array] | None:
        """A block and the place (2,) to bring it to; None when all blocks (n,2) are at their places."""
        clear = self.blocks.clear(places)
        for block in self.order:
            if np.abs(places[block] - self.goal[block]).max() < NEAR:
                continue
            wanted = self.goal[block]
            in_the_way = self._above(places, wanted, block) | self._above(places, places[block], block)
            if not in_the_way.any():
                return int(block), wanted
            block = int(self.rng.choice(np.flatnonzero(in_the_way)))
            while not clear[block]:
                block = int(np.flatnonzero(self._above(places, places[block], block))[0])
            return block, np.array([self._free_place(places, block, wanted), 0.5])
        return None

    def _above(self, places: Array, place: Array, block: int) -> NDArray[np.bool_]:
        """Which blocks other than one are at or above a place (2,)."""
        found = (np.abs(places[:, 0] - place[0]) < 1 - 1e-6) & (places[:, 1] > place[1] - 0.5)
        found[block] = False
        return found

    def _free_place(self, places: Array, block: int, wanted: Array) -> float:
        """A place on the table for a block, out of the way of what is wanted at a place (2,).

        It keeps apart from the blocks on the table and, where there is room, from all of the goal's towers.
        """
        x = self.rng.uniform(self.blocks.low[0], self.blocks.high[0], 500)
        others = np.delete(places, block, axis=0)
        taken = np.append(others[others[:, 1] < 1, 0], wanted[0])
        room = np.abs(x[:, None] - taken).min(axis=1)
        apart = np.minimum(room, np.abs(x[:, None] - self.goal[:, 0]).min(axis=1))
        return float(x[apart > GAP][0] if (apart > GAP).any() else x[room.argmax()])

    def _carry(self, gripper: Array, others: Array, place: Array) -> Array:
        """Up, across and down: the action that brings what is held to a place (2,)."""
        dx, dy = place - gripper
        if abs(dx) <= DRIFT:
            return np.array([dx / SPEED, max(dy / SPEED, -1), -1.0 if abs(dy) <= SPEED else 1.0])
        left, right = sorted((gripper[0], place[0]))
        passed = others[(others[:, 0] > left - 1) & (others[:, 0] < right + 1), 1]
        height = max(passed.max(initial=-1.0) + 1 + CLEARANCE, place[1])
        if gripper[1] < height - CLEARANCE / 2:
            return np.array([0.0, min((height - gripper[1]) / SPEED, 1), 1.0])
        return np.array([*np.clip([dx / SPEED, (height - gripper[1]) / SPEED], -1, 1), 1.0])


def draw_arrangement(blocks: Blocks, rng: np.random.Generator, towers: int | None = None) -> Array:
    """Places (n,2) of random towers: of a random number of them, unless it is given."""
    order = rng.permutation(blocks.count)
    towers = towers or int(rng.integers(1, blocks.count + 1))
    cuts = np.sort(rng.choice(np.arange(1, blocks.count), towers - 1, replace=False))
    x = draw_apart(blocks, rng, towers)
    places = np.zeros((blocks.count, 2))
    for tower, members in enumerate(np.split(order, cuts)):
        places[members, 0] = x[tower]
        places[members, 1] = np.arange(len(members)) + 0.5
    return places


def draw_apart(blocks: Blocks, rng: np.random.Generator, count: int) -> Array:
    """So many places along the table, at least `GAP` apart, in random order."""
    slack = blocks.high[0] - blocks.low[0] - GAP * (count - 1)
    x = blocks.low[0] + np.sort(rng.uniform(0, slack, count)) + GAP * np.arange(count)
    return x[rng.permutation(count)]


def draw_gripper(blocks: Blocks, rng: np.random.Generator) -> Array:
    """A random place (2,) of the gripper."""
    return rng.uniform(blocks.low, blocks.high)


def tower_goal(blocks: Blocks, places: Array, rng: np.random.Generator) -> Array:
    """A tower of all blocks in random order, at the place of its lowest block where that is on the table."""
    goal = draw_arrangement(blocks, rng, towers=1)
    lowest = int(goal[:, 1].argmin())
    if places[lowest, 1] < 1:
        goal[:, 0] = places[lowest, 0]
    return goal


def make_trajectories(
    blocks: Blocks, count: int, length: int, seed: int, towers: bool
) -> tuple[Array, Array]:
    """States (N,length,S) and actions (N,length,3) of tasks that begin with random arrangements.

    towers: whether the goal is a tower of all blocks, or any arrangement. Of `count` tasks, those are kept
    that are done in time. The gripper rests from then on.
    """
    rng = np.random.default_rng(seed)
    starts = np.stack([draw_arrangement(blocks, rng) for _ in range(count)])
    goals = [
        tower_goal(blocks, places, rng) if towers else draw_arrangement(blocks, rng) for places in starts
    ]
    builders = [Builder(blocks, goal, rng) for goal in goals]
    state = blocks.state(np.stack([draw_gripper(blocks, rng) for _ in range(count)]), starts)
    states, actions = [], []
    for _ in range(length):
        action = np.stack([builder.action(row) for builder, row in zip(builders, state, strict=True)])
        moves = np.abs(action[:, :2]).max(axis=1, keepdims=True) > 0
        action[:, :2] += NOISE / SPEED * moves * rng.standard_normal((count, 2))
        action = np.clip(action, -1, 1)
        states.append(state)
        actions.append(action)
        state = blocks.step(state, action)
    built = np.array(
        [
            builder.next_move(places) is None
            for builder, places in zip(builders, blocks.places(states[-1]), strict=True)
        ]
    )
    done = built & ~blocks.held(states[-1]).any(axis=1)
    return np.stack(states, axis=1)[done], np.stack(actions, axis=1)[done]
