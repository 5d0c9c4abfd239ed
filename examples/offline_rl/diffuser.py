"""Diffuser (Janner et al. 2022) on transitions: the baseline that plans, and has no policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.guidance import GradientGuidance
from core.losses import simple_loss
from core.samplers import ddim
from core.training.ema import EMA
from core.training.trainer import stratified_timesteps
from examples.offline_rl.transitions import Array, Transitions
from examples.planning.inpainting import Inpainting
from examples.planning.network import TemporalUNet, known_entries
from examples.planning.returns import Return


@dataclass(frozen=True)
class Planning:
    """Settings of the plans; horizon and timesteps are those of the paper for locomotion (appendix C)."""

    horizon: int = 32  # steps of a plan
    timesteps: int = 20
    steps: int = 10  # of DDIM, a plan
    widths: tuple[int, ...] = (32, 64)
    scale: float = 0.1  # of the guidance by the return
    candidates: int = 4  # plans of a state, of which the one of the highest return is followed
    discount: float = 0.99
    learning_rate: float = 1e-3


class Diffuser:
    """Trajectories of states and actions (B,S+A,horizon), and the return that is expected of them.

    A plan begins in the present state, which is inpainted, and is guided by the return (algorithm 1). Each
    step counts with the discounted sum of the rewards from there to the end of its episode, scaled to zero
    mean and unit deviation over the data.
    """

    def __init__(self, data: Transitions, settings: Planning) -> None:
        """data: of normalized states, in the order of time; see `windows`."""
        self.settings = settings
        self.states, self.actions = data.states.shape[1], data.actions.shape[1]
        self.x0, values = windows(data, settings.horizon, settings.discount)
        self.values = (values - values.mean()) / (values.std() + 1e-6)
        channels = self.states + self.actions
        schedule = NoiseSchedule.cosine(settings.timesteps)
        self.denoiser = Denoiser(
            TemporalUNet(channels, settings.widths, 1), schedule, Parameterization.X0, clip=None
        )
        self.value = Return(schedule, channels)
        self.average, self.steps = EMA(self.denoiser.network, width=0.1), 0
        networks = self.denoiser.network, self.value
        self.optimizers = [torch.optim.Adam(n.parameters(), lr=settings.learning_rate) for n in networks]

    def learn(self, rows: Tensor) -> dict[str, float]:
        """One step of both networks on the windows of these rows (B,)."""
        x0, values = self.x0[rows], self.values[rows]
        mask = torch.zeros_like(x0, dtype=torch.bool)
        mask[:, : self.states, 0] = (torch.rand(len(x0)) < 0.9)[:, None]
        t = stratified_timesteps(len(x0), self.settings.timesteps, x0.device)
        noise, known = torch.randn_like(x0), known_entries(x0, mask)
        losses = {
            "denoising": simple_loss(self.denoiser, x0, t, known, noise, (~mask).float()).mean(),
            "return": self.value.loss(x0, lambda _: values).mean(),
        }
        networks = self.denoiser.network, self.value
        for loss, optimizer, network in zip(losses.values(), self.optimizers, networks, strict=True):
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        self.steps += 1
        self.average.update(self.denoiser.network, self.steps)
        return {name: loss.item() for name, loss in losses.items()}

    @torch.no_grad()
    def act(self, states: Tensor) -> Tensor:
        """The first actions (B,A) in [-1, 1] of plans from states (B,S), normalized."""
        settings, count = self.settings, len(states) * self.settings.candidates
        rows = states.repeat_interleave(settings.candidates, dim=0)
        known = torch.zeros(count, self.states + self.actions, settings.horizon)
        known[:, : self.states, 0] = rows
        mask = torch.zeros_like(known, dtype=torch.bool)
        mask[:, : self.states, 0] = True
        averaged = self.denoiser.with_network(self.average.network)
        guided = Inpainting(GradientGuidance(averaged, self.value, settings.scale))
        noise = torch.randn_like(known)
        *_, last = ddim(guided, noise, known_entries(known, mask), steps=settings.steps)
        returns = self.value(last.x0, torch.zeros(count, dtype=torch.int64)).view(-1, settings.candidates)
        plans = last.x0.unflatten(0, (-1, settings.candidates))[torch.arange(len(states)), returns.argmax(1)]
        return plans[:, self.states :, 0].clamp(-1, 1)


def windows(data: Transitions, length: int, discount: float) -> tuple[Tensor, Tensor]:
    """Every trajectory of so many steps, (N,S+A,length), and the return from each of its steps, (N,length).

    data: N transitions in the order of time. A trajectory that would go beyond the end of its episode rests
    in the last state, without action. Where an episode ended for good, nothing is added to its return.
    """
    end = episode_ends(data)
    rows = np.minimum(np.arange(len(data))[:, None] + np.arange(length), end[:, None])
    over = np.arange(len(data))[:, None] + np.arange(length) > end[:, None]
    states = np.where(over[..., None], data.next_states[rows], data.states[rows])
    actions = np.where(over[..., None], 0, data.actions[rows])
    returns = np.where(over, np.float32(0), returns_to_go(data, end, discount)[rows])
    x0 = np.concatenate([states, actions], axis=2).astype(np.float32)
    return torch.from_numpy(x0).transpose(1, 2).contiguous(), torch.from_numpy(returns)


def episode_ends(data: Transitions) -> NDArray[np.intp]:
    """The row (N,) of the last transition of each one's episode: terminal, or the next begins elsewhere."""
    last = np.append((data.next_states[:-1] != data.states[1:]).any(axis=1), True) | (data.terminals > 0)
    ends = np.flatnonzero(last)
    return ends[np.searchsorted(ends, np.arange(len(data)))]


def returns_to_go(data: Transitions, end: NDArray[np.intp], discount: float) -> Array:
    """Discounted sums (N,) of the rewards from each transition to the end of its episode, at `end`."""
    total, sums = 0.0, np.zeros(len(data), np.float32)
    for row in reversed(range(len(data))):
        total = data.rewards[row] + discount * (0.0 if row == end[row] else total)
        sums[row] = total
    return sums
