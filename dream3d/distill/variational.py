"""Variational score distillation: the reference is a second denoiser that learns what the renders are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser, DenoiserLike, Prediction
from core.diffusion.schedule import NoiseSchedule
from core.losses import simple_loss
from dream3d.distill.contract import noise_for
from dream3d.distill.lora import LoRANetwork
from dream3d.distill.score import ScoreDistillation, Weight, variance
from dream3d.distill.space import ModelSpace
from dream3d.distill.timesteps import Timesteps


class RenderScoreModel(DenoiserLike, Protocol):
    """A denoiser of the distribution of the renders, which it follows as they change."""

    def learn(self, x: Tensor, condition: Condition, generator: torch.Generator) -> None:
        """Takes in renders, in the model's space and without gradient: x (B,C,h,w)."""
        ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None: ...


class LoRAScoreModel:
    """Follows the renders by a low-rank copy of the frozen network, one step of Adam for each batch.

    Camera-conditioned models tell it the view by the condition, as they tell the frozen network.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        generator: torch.Generator,
        rank: int = 4,
        learning_rate: float = 1e-3,
    ) -> None:
        """denoiser: the frozen one, unguided; generator: draws the start of the adapters."""
        self.copy = LoRANetwork(denoiser.network, rank, generator)
        self.denoiser = denoiser.with_network(self.copy)
        self.optimizer = torch.optim.Adam(self.copy.parameters(), lr=learning_rate)

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        return self.denoiser(x, t, condition)

    def learn(self, x: Tensor, condition: Condition, generator: torch.Generator) -> None:
        """One step on `simple_loss` at timesteps from all of [0, T)."""
        timesteps = self.schedule.timesteps
        t = torch.randint(timesteps, (len(x),), generator=generator, device=generator.device).to(x.device)
        noise = noise_for(x, generator)
        with torch.enable_grad():
            self.optimizer.zero_grad()
            simple_loss(self.denoiser, x, t, condition, noise).mean().backward()
        self.optimizer.step()

    def state_dict(self) -> dict[str, Tensor]:
        """The adapters, and Adam's moments under "optimizer/"."""
        state = dict(self.copy.state_dict())
        for name, parameter in self.copy.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                state[f"optimizer/{name}/{key}"] = value
        return {name: value.clone() for name, value in state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        moments: dict[int, dict[str, Tensor]] = {}
        for number, (name, _) in enumerate(self.copy.named_parameters()):
            prefix = f"optimizer/{name}/"
            own = {k.removeprefix(prefix): v.clone() for k, v in state.items() if k.startswith(prefix)}
            if own:
                moments[number] = own
        self.copy.load_state_dict({k: v for k, v in state.items() if not k.startswith("optimizer/")})
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})


class VSD(ScoreDistillation):
    """eps^(x_t) - eps_renders(x_t) (Wang et al. 2023, "ProlificDreamer").

    The difference of the score of the model's images and that of the renders' own distribution: where the
    two agree nothing moves, so that it needs no large guidance scale (7.5 in the paper). Every call first
    asks the follower, then lets it learn from the same renders.
    """

    def __init__(
        self,
        denoiser: DenoiserLike,
        score_model: RenderScoreModel,
        timesteps: Timesteps,
        space: ModelSpace | None = None,
        weight: Weight = variance,
    ) -> None:
        super().__init__(denoiser, timesteps, space, weight)
        self.score_model = score_model

    def direction(
        self, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        xt = self.denoiser.schedule.add_noise(x, noise_for(x, generator), t)
        predicted = self.denoiser(xt, t, condition)
        own = self.score_model(xt, t, condition)
        self.score_model.learn(x, condition, generator)
        return predicted.eps - own.eps, predicted.x0

    def state_dict(self) -> dict[str, Tensor]:
        return self.score_model.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.score_model.load_state_dict(state)
