"""Plans from a trajectory model: inpainting of start and goal, guidance, warm starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic

import numpy as np
import torch

from core.condition import Condition
from core.errors import UserError
from core.guidance import GradientGuidance, LogDensity
from core.samplers import SamplerState, ddpm, noise_like
from examples.planning.environment import Array
from examples.planning.inpainting import Inpainting
from examples.planning.model import E, TrajectoryModel
from examples.planning.network import known_entries


class Planner(Generic[E]):
    """Samples plans (B,L,S) from a state to a goal of the environment, by ancestral sampling.

    steps: of a plan from noise. warm_steps: of a plan from a former one, the last of the same timesteps.
    density: log-density of noisy trajectories to be guided by, such as a return, times `scale`; see
        `core.guidance.GradientGuidance`.

    Raises UserError unless 1 <= warm_steps <= steps <= the timesteps of the model.
    """

    def __init__(
        self,
        model: TrajectoryModel[E],
        steps: int = 50,
        warm_steps: int = 10,
        density: LogDensity | None = None,
        scale: float = 1.0,
    ) -> None:
        if not 1 <= warm_steps <= steps:
            raise UserError(f"A warm start takes 1 to {steps} steps, as many as a plan from noise.")
        self.model = model
        self.timesteps = model.denoiser.schedule.sampling_timesteps(steps)
        self.warm_timesteps = self.timesteps[-warm_steps:]
        guided = GradientGuidance(model.denoiser, density, scale) if density else model.denoiser
        self.denoiser = Inpainting(guided)

    def sample(
        self,
        states: Array,
        goals: Array,
        length: int,
        generators: Sequence[torch.Generator],
        former: Array | None = None,
    ) -> Iterator[SamplerState]:
        """The sampling loop of plans, one state after every step; x and x0 are normalized.

        states: (B,S) at the start; goals: (B,G), which the last state of the plan fulfills.
        length: L of the plans, in steps, from the start to the goal.
        former: (B,L,S), plans that were right before: they are noised to the first timestep of a warm start
            (Janner et al. 2022, section 5.4) and denoised from there.

        Raises UserError when the length is not a multiple of the network's stride.
        """
        stride = self.model.stride
        if length % stride or length < stride:
            raise UserError(f"The length of a plan must be a positive multiple of {stride}, not {length}.")
        x = noise_like((*states.shape, length), generators)
        timesteps = self.timesteps
        if former is not None:
            timesteps = self.warm_timesteps
            t = torch.full((len(x),), int(timesteps[0]))
            x = self.model.denoiser.schedule.add_noise(self.model.normalize(former), x, t)
        condition = self.ends(states, goals, length)
        return ddpm(self.denoiser, x, condition, timesteps=timesteps, generators=generators)

    def plan(
        self,
        states: Array,
        goals: Array,
        length: int,
        generators: Sequence[torch.Generator],
        former: Array | None = None,
    ) -> Array:
        """The plans (B,L,S) of `sample`, in the units of the environment."""
        *_, last = self.sample(states, goals, length, generators, former)
        return self.model.to_states(last.x)

    def ends(self, states: Array, goals: Array, length: int) -> Condition:
        """The condition of plans that begin in states (B,S) and end at goals (B,G)."""
        last = self.model.environment.goal_state(goals)
        known = np.zeros((len(states), length, states.shape[1]))
        known[:, 0], known[:, -1] = states, np.nan_to_num(last)
        mask = np.zeros(known.shape, dtype=bool)
        mask[:, 0], mask[:, -1] = True, ~np.isnan(last)
        return known_entries(self.model.normalize(known), torch.from_numpy(mask).transpose(1, 2))


def make_generators(count: int, seed: int) -> list[torch.Generator]:
    """One generator for each plan, so that a plan does not depend on its batch."""
    return [torch.Generator().manual_seed(seed * 1_000_003 + i) for i in range(count)]
