"""Variational score distillation: the reference is a second denoiser that is trained on the renders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import Denoiser, DenoiserLike, Prediction
from core.diffusion.schedule import NoiseSchedule
from core.losses import simple_loss
from core.nn.adam import Adam
from core.nn.lora import LoRANetwork
from dream3d.distill.contract import noise_for
from dream3d.distill.score import ScoreDistillation, Weight, variance
from dream3d.distill.space import ModelSpace
from dream3d.distill.timesteps import Timesteps


class RenderScoreModel(DenoiserLike, Protocol):
    """A denoiser of the distribution of the renders, trained as they change."""

    def learn(self, x: Tensor, condition: Condition, generator: torch.Generator) -> None:
        """One training step on renders x (B,C,h,w) in the model's space, without gradient."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors that the next call depends on, for checkpoints."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores `state_dict`."""
        ...


class LoRAScoreModel:
    """A LoRA copy of the frozen network that takes one step of Adam per batch of renders.

    It gets the camera through the condition, like the frozen network.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        generator: torch.Generator,
        rank: int = 4,
        learning_rate: float = 1e-3,
    ) -> None:
        """denoiser: frozen and unguided; generator: of the initial adapters; rank: as in `LoRANetwork`."""
        self.copy = LoRANetwork(denoiser.network, rank, generator)
        self.denoiser = denoiser.with_network(self.copy)
        self.optimizer = Adam(self.copy.parameters(), learning_rate)

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule of the frozen denoiser."""
        return self.denoiser.schedule

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The prediction of the adapted network, as `Denoiser.forward`."""
        return self.denoiser(x, t, condition)

    def learn(self, x: Tensor, condition: Condition, generator: torch.Generator) -> None:
        """One step on `simple_loss` at timesteps uniform in [0, T)."""
        timesteps = self.schedule.timesteps
        t = torch.randint(timesteps, (len(x),), generator=generator, device=generator.device).to(x.device)
        noise = noise_for(x, generator)
        with torch.enable_grad():
            self.optimizer.zero_grad()
            simple_loss(self.denoiser, x, t, condition, noise).mean().backward()
        self.optimizer.step()

    def state_dict(self) -> dict[str, Tensor]:
        """The adapters, and the moments of Adam under "optimizer/"."""
        state = dict(self.copy.state_dict())
        for number, (name, _) in enumerate(self.copy.named_parameters()):
            for key, value in self.optimizer.state.get(number, {}).items():
                state[f"optimizer/{name}/{key}"] = value
        return {name: value.clone() for name, value in state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores `state_dict`."""
        moments: dict[int, dict[str, Tensor]] = {}
        for number, (name, _) in enumerate(self.copy.named_parameters()):
            prefix = f"optimizer/{name}/"
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if own:
                moments[number] = own
        self.copy.load_state_dict({k: v for k, v in state.items() if not k.startswith("optimizer/")})
        self.optimizer.load_state(moments)


class VSD(ScoreDistillation):
    """Variational score distillation: eps^(x_t) - eps_renders(x_t) (Wang et al. 2023, "ProlificDreamer").

    The gradient is the difference of the scores of the model and of the distribution of the renders. It
    vanishes where they agree, so no large guidance scale is needed (7.5 in the paper). Every call first
    evaluates the score model and then trains it on the same renders.
    """

    def __init__(
        self,
        denoiser: DenoiserLike,
        score_model: RenderScoreModel,
        timesteps: Timesteps,
        space: ModelSpace | None = None,
        weight: Weight = variance,
    ) -> None:
        """score_model: predicts eps_renders."""
        super().__init__(denoiser, timesteps, space, weight)
        self.score_model = score_model

    def direction(
        self, x: Tensor, t: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """eps^(x_t) - eps_renders(x_t) and x0^; then one training step of the score model."""
        xt = self.denoiser.schedule.add_noise(x, noise_for(x, generator), t)
        predicted = self.denoiser(xt, t, condition)
        reference = self.score_model(xt, t, condition)
        self.score_model.learn(x, condition, generator)
        return predicted.eps - reference.eps, predicted.x0

    def state_dict(self) -> dict[str, Tensor]:
        """State of the score model."""
        return self.score_model.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores `state_dict`."""
        self.score_model.load_state_dict(state)
