"""What learns from transitions: Diffusion-QL, and the baselines behavior cloning and TD3+BC."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.losses import simple_loss
from core.training.trainer import stratified_timesteps
from examples.offline_rl.policy import diffusion_policy, in_state, policy_noise, sample_actions
from examples.offline_rl.q_function import DoubleQ, follow, frozen_copy


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of all learners; the defaults are those of the papers, except that eta is per task."""

    width: int = 256
    learning_rate: float = 3e-4
    discount: float = 0.99
    eta: float = 1.0  # weight of the Q function in Diffusion-QL's loss
    max_q_backup: bool = False  # the largest Q of ten next actions, for tasks with sparse rewards
    reward_shift: float = 0.0  # added to rewards while learning: -1 makes a sparse reward a cost of time
    normed_q: bool = False  # layer norms in the Q functions, where their values run away
    rate: float = 0.005  # of the targets' moving averages, a step
    gradient_clip: float = 9.0
    candidates: int = 50  # actions among which one is chosen by its Q
    alpha: float = 2.5  # of TD3+BC


class Batch(NamedTuple):
    """Transitions as tensors; see `Transitions`."""

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor
    terminals: Tensor


class Learner(ABC):
    """A policy that is improved by one batch after the other."""

    def __init__(self, state_width: int, action_width: int, settings: Settings) -> None:
        self.state_width, self.action_width, self.settings = state_width, action_width, settings

    @abstractmethod
    def learn(self, batch: Batch) -> dict[str, float]:
        """Takes one step; returns its losses."""

    @abstractmethod
    def act(self, states: Tensor) -> Tensor:
        """Actions (B,A) in [-1, 1] in states (B,S), for evaluation."""

    def optimizer_of(self, network: nn.Module) -> torch.optim.Optimizer:
        """Adam with the learning rate of the settings."""
        return torch.optim.Adam(network.parameters(), lr=self.settings.learning_rate)

    def take_step(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """One step of an optimizer, with a clipped gradient."""
        optimizer.zero_grad()
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip)
        optimizer.step()


class Cloning(Learner):
    """Behavior cloning: a deterministic policy by mean squared error."""

    def __init__(self, state_width: int, action_width: int, settings: Settings) -> None:
        super().__init__(state_width, action_width, settings)
        self.policy = deterministic_policy(state_width, action_width, settings.width)
        self.optimizer = self.optimizer_of(self.policy)

    def learn(self, batch: Batch) -> dict[str, float]:
        """One step on the actions of the data."""
        loss = F.mse_loss(self.policy(batch.states), batch.actions)
        self.take_step(self.optimizer, loss)
        return {"cloning": loss.item()}

    @torch.no_grad()
    def act(self, states: Tensor) -> Tensor:
        """The policy's actions."""
        return self.policy(states)


class Critic:
    """The Q functions of a learner, with their targets."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        settings = learner.settings
        self.q = DoubleQ(learner.state_width, learner.action_width, settings.width, settings.normed_q)
        self.target: DoubleQ = frozen_copy(self.q)  # pyright: ignore[reportAttributeAccessIssue]
        self.optimizer = learner.optimizer_of(self.q)

    def learn(self, batch: Batch, next_values: Tensor) -> float:
        """One step towards rewards + discount next_values (B,); returns the loss."""
        settings = self.learner.settings
        goal = batch.rewards + settings.reward_shift + settings.discount * (1 - batch.terminals) * next_values
        first, second = self.q(batch.states, batch.actions)
        loss = F.mse_loss(first, goal) + F.mse_loss(second, goal)
        self.learner.take_step(self.optimizer, loss)
        follow(self.target, self.q, self.learner.settings.rate)
        return loss.item()


class DiffusionQL(Learner):
    """Diffusion-QL: the loss of diffusion on the actions of the data, minus the Q of sampled actions.

    Wang et al. 2023, "Diffusion Policies as an Expressive Policy Class for Offline Reinforcement Learning",
    algorithm 1: L = L_diffusion - eta E[Q(s, a0)] / E|Q(s, a0)|, where a0 is sampled with gradients.
    """

    def __init__(self, state_width: int, action_width: int, settings: Settings) -> None:
        super().__init__(state_width, action_width, settings)
        self.policy = diffusion_policy(state_width, action_width, settings.width)
        self.target = self.policy.with_network(frozen_copy(self.policy.network))
        self.optimizer = self.optimizer_of(self.policy.network)
        self.critic = Critic(self)
        self.sample = sample_actions  # while it learns; a compiled one is faster

    def learn(self, batch: Batch) -> dict[str, float]:
        """One step of the Q functions, then one of the policy; both targets follow."""
        losses = {"q": self.critic.learn(batch, self.next_values(batch.next_states))}
        noise = policy_noise(self.policy, len(batch.states), self.action_width)
        loss = self.cloning_loss(batch)
        total = loss - self.settings.eta * self.improvement(batch.states, noise)
        self.take_step(self.optimizer, total)
        follow(self.target.network, self.policy.network, self.settings.rate)
        return losses | {"cloning": loss.item()}

    def cloning_loss(self, batch: Batch) -> Tensor:
        """L_diffusion: the mean squared error of the noise."""
        t = stratified_timesteps(len(batch.states), self.policy.schedule.timesteps, batch.states.device)
        noise = torch.randn_like(batch.actions)
        return simple_loss(self.policy, batch.actions, t, in_state(batch.states), noise).mean()

    def improvement(self, states: Tensor, noise: Tensor) -> Tensor:
        """E[Q(s, a0)] / E|Q(s, a0)|, the divisor without gradient.

        As in the paper's code, one of the two Q functions, drawn at random, is maximized, and the other one
        gives the scale.
        """
        values = list(self.critic.q(states, self.sample(self.policy, states, noise)))
        maximized, scale = values if torch.rand(()) < 0.5 else values[::-1]
        return maximized.mean() / scale.abs().mean().detach()

    @torch.no_grad()
    def next_values(self, states: Tensor) -> Tensor:
        """Values (B,) of next states: of one sampled action, or the largest of ten (max-Q backup)."""
        count = 10 if self.settings.max_q_backup else 1
        rows = states.repeat_interleave(count, dim=0)
        noise = policy_noise(self.policy, len(rows), self.action_width)
        first, second = self.critic.target(rows, self.sample(self.target, rows, noise))
        return torch.minimum(*(values.view(-1, count).amax(dim=1) for values in (first, second)))

    @torch.no_grad()
    def act(self, states: Tensor) -> Tensor:
        """One of `candidates` sampled actions, drawn with the probabilities softmax(Q) (section 4)."""
        count = self.settings.candidates
        rows = states.repeat_interleave(count, dim=0)
        actions = sample_actions(self.target, rows, policy_noise(self.target, len(rows), self.action_width))
        values = self.critic.target.lower(rows, actions).view(-1, count)
        chosen = torch.multinomial(values.softmax(dim=1), 1)[:, 0]
        return actions.view(-1, count, self.action_width)[torch.arange(len(states)), chosen]


class TD3BC(Learner):
    """TD3+BC (Fujimoto and Gu 2021): (pi(s) - a)^2 - lambda Q(s, pi(s)), lambda = alpha / E|Q|."""

    noise, noise_limit, delay = 0.2, 0.5, 2

    def __init__(self, state_width: int, action_width: int, settings: Settings) -> None:
        super().__init__(state_width, action_width, settings)
        self.policy = deterministic_policy(state_width, action_width, settings.width)
        self.target = frozen_copy(self.policy)
        self.optimizer = self.optimizer_of(self.policy)
        self.critic = Critic(self)
        self.step = 0

    def learn(self, batch: Batch) -> dict[str, float]:
        """One step of the Q functions; every second time one of the policy too."""
        with torch.no_grad():
            noise = (self.noise * torch.randn_like(batch.actions)).clamp(-self.noise_limit, self.noise_limit)
            following = (self.target(batch.next_states) + noise).clamp(-1, 1)
            values = self.critic.target.lower(batch.next_states, following)
        losses = {"q": self.critic.learn(batch, values)}
        self.step += 1
        if self.step % self.delay == 0:
            actions = self.policy(batch.states)
            value, _ = self.critic.q(batch.states, actions)
            weight = self.settings.alpha / value.abs().mean().detach()
            cloning = F.mse_loss(actions, batch.actions)
            self.take_step(self.optimizer, cloning - weight * value.mean())
            follow(self.target, self.policy, self.settings.rate)
        return losses

    @torch.no_grad()
    def act(self, states: Tensor) -> Tensor:
        """The policy's actions."""
        return self.policy(states)


def deterministic_policy(state_width: int, action_width: int, width: int) -> nn.Sequential:
    """A network with two hidden layers from states (B,S) to actions (B,A) in [-1, 1]."""
    return nn.Sequential(
        nn.Linear(state_width, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, action_width),
        nn.Tanh(),
    )


LEARNERS = {"bc": Cloning, "td3+bc": TD3BC, "diffusion-ql": DiffusionQL}
