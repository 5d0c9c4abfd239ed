"""The kinds of task of Janner et al. 2022, section 5.2: what is known of their goals, and scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.planning.environment import Array
from examples.stacking.blocks import Blocks
from examples.stacking.controller import draw_arrangement, draw_gripper


class StackingTasks(NamedTuple):
    """Starts (B,S) and goals (B,S), NaN where any entry will do."""

    states: Array
    goals: Array


def any_tower(blocks: Blocks, states: Array) -> Array:
    """The goals (B,S) of unconditional stacking: nothing is known of them."""
    return np.full_like(states, np.nan)


def tower_in_order(blocks: Blocks, states: Array) -> Array:
    """The goals (B,S) of stacking in an order: each block is as high as in these states, at any place."""
    places = blocks.places(states).copy()
    places[..., 0] = np.nan
    return blocks.arranged(places)


def arrangement(blocks: Blocks, states: Array) -> Array:
    """The goals (B,S) of rearrangement: each block is where it is in these states."""
    return blocks.goal_of(states)


KINDS = {"stacking": any_tower, "stacking in order": tower_in_order, "rearrangement": arrangement}
"""Kinds of task, and the goals that states fulfill as solutions of that kind."""


def draw_tasks(blocks: Blocks, kind: str, count: int, seed: int) -> StackingTasks:
    """Random tasks: all blocks on the table, and a tower to build; or from one arrangement to another."""
    rng = np.random.default_rng(seed)
    towers = kind != "rearrangement"
    starts, goals = [], []
    for _ in range(count):
        starts.append(draw_arrangement(blocks, rng, towers=blocks.count if towers else None))
        goals.append(draw_arrangement(blocks, rng, towers=1 if towers else None))
    grippers = np.stack([draw_gripper(blocks, rng) for _ in range(count)])
    solved = blocks.state(grippers, np.stack(goals))
    return StackingTasks(blocks.state(grippers, np.stack(starts)), KINDS[kind](blocks, solved))


def right(blocks: Blocks, states: Array, goals: Array) -> NDArray[np.bool_]:
    """Which blocks are where they should be, (B,n): within half a block, at the right height, and not held.

    Where nothing is known of a goal, these are as many blocks as the highest tower has.
    """
    resting = ~blocks.held(states)
    away = np.abs(np.nan_to_num(goals[..., blocks.placed] - states[..., blocks.placed]))
    close = (away.reshape(*resting.shape, 2) < [0.5, 0.1]).all(axis=-1)
    free = np.isnan(goals[..., blocks.placed]).all(axis=-1)
    height = np.where(resting, blocks.places(states)[..., 1] + 0.5, 0).max(axis=-1)
    in_tower = np.arange(blocks.count) < np.round(np.expand_dims(height, -1))
    return np.where(np.expand_dims(free, -1), in_tower, close & resting)
