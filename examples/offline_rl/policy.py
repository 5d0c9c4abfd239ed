"""The diffusion policy: a denoiser of actions given a state, sampled in five differentiable steps."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from core.condition import Condition, no_condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.nn.embeddings import timestep_embedding

TIME_WIDTH = 16


def variance_preserving(steps: int, low: float = 0.1, high: float = 10.0) -> NoiseSchedule:
    """The schedule of few steps from the variance-preserving SDE.

    Wang et al. 2023, section 3: beta_i = 1 - exp(-low / N - (high - low) (2 i - 1) / (2 N^2)), i = 1 .. N
    (after Xiao et al. 2022).
    """
    i = torch.arange(1, steps + 1, dtype=torch.float64)
    beta = 1 - torch.exp(-low / steps - (high - low) * (2 * i - 1) / (2 * steps**2))
    signal = torch.cumprod(1 - beta, dim=0)
    settings = {"low": low, "high": high}
    return NoiseSchedule("variance_preserving", signal.sqrt(), (1 - signal).sqrt(), settings)


def in_state(states: Tensor) -> Condition:
    """The condition of actions in states (B,S), as attributes."""
    return replace(no_condition(len(states), states.device), attributes=states)


class ActionNetwork(nn.Module):
    """Three hidden layers with Mish (Wang et al. 2023, appendix B) from noisy action, timestep and state."""

    def __init__(self, state_width: int, action_width: int, width: int) -> None:
        super().__init__()
        self.time = nn.Sequential(
            nn.Linear(TIME_WIDTH, 2 * TIME_WIDTH), nn.SiLU(), nn.Linear(2 * TIME_WIDTH, TIME_WIDTH)
        )
        self.layers = nn.Sequential(
            nn.Linear(action_width + TIME_WIDTH + state_width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, action_width),
        )

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The noise (B,A) predicted in actions x (B,A) noised to t (B,); condition: of `in_state`."""
        time = self.time(timestep_embedding(t, TIME_WIDTH))
        return self.layers(torch.cat([x, time, condition.attributes], dim=1))


def diffusion_policy(state_width: int, action_width: int, width: int = 256, steps: int = 5) -> Denoiser:
    """A new policy: eps-prediction, actions clipped to [-1, 1] at every step as in the paper's code."""
    network = ActionNetwork(state_width, action_width, width)
    return Denoiser(network, variance_preserving(steps), Parameterization.EPS, clip=1.0)


def sample_actions(policy: Denoiser, states: Tensor, noise: Tensor) -> Tensor:
    """Actions (B,A) in [-1, 1] for states (B,S), by ancestral sampling on all timesteps.

    It is `core.samplers.ddpm`, but differentiable in the policy's weights, through all steps (Wang et al.
    2023, section 4): the Q function is maximized through it.

    noise: (T,B,A) standard normal, first that of the start, then that added after each step but the last.
    """
    x, condition = noise[0], in_state(states)
    schedule = policy.schedule
    for t in reversed(range(schedule.timesteps)):
        times = torch.full((len(states),), t, device=states.device)
        mean, variance, _ = schedule.posterior(policy(x, times, condition).x0, x, times)
        x = mean if t == 0 else mean + variance.sqrt() * noise[schedule.timesteps - t]
    return x


def policy_noise(policy: Denoiser, count: int, action_width: int) -> Tensor:
    """The noise of `sample_actions` for `count` states, (T,count,A), from torch's global generator."""
    return torch.randn(policy.schedule.timesteps, count, action_width)
