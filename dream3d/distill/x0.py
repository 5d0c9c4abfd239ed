"""Distillation towards predicted pictures: the x0 form, in one step or several."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from core.condition import Condition
from core.denoiser import Denoises
from dream3d.distill.contract import Distilled, noise_for
from dream3d.distill.space import PixelSpace, Space
from dream3d.distill.timesteps import Timesteps


class X0:
    """loss = |render - x0^|^2 in pixels, x0^ a constant (Shi et al. 2023, "MVDream"). A `Distillation`.

    x0^ is what the denoiser makes of the noised render: at once (steps = 1), or by `steps` DDIM steps from t
    down to clean data at equal distances, sharper and dearer. `uses` makes the same target serve several
    steps of optimisation on the same views; `due` says when new ones may come.
    """

    def __init__(
        self,
        denoiser: Denoises,
        timesteps: Timesteps,
        space: Space | None = None,
        steps: int = 1,
        uses: int = 1,
    ) -> None:
        """space: pixels unless given; steps, uses: at least 1."""
        if steps < 1 or uses < 1:
            raise ValueError(f"X0 cannot have {steps=}, {uses=}")
        self.denoiser = denoiser
        self.timesteps = timesteps
        self.space = space or PixelSpace()
        self.steps = steps
        self.uses = uses
        self._left = 0
        self._kept: dict[str, Tensor] = {}

    @property
    def due(self) -> bool:
        """Whether the next call makes a new target."""
        return self._left == 0

    def forget(self) -> None:
        """Makes a new target due, as a change of resolution needs."""
        self._left = 0
        self._kept = {}

    def __call__(
        self, renders: Tensor, condition: Condition, progress: float, generator: torch.Generator
    ) -> Distilled:
        """As `Distillation.__call__`; where nothing is due, only the renders matter.

        Raises ValueError when the kept target is of another shape than the renders.
        """
        if self.due:
            self._kept = self._renewed(renders.detach(), condition, progress, generator)
            self._left = self.uses
        target = self._kept["target"]
        if target.shape != renders.shape:
            raise ValueError(
                f"renders {tuple(renders.shape)} for a target {tuple(target.shape)} that is not yet due"
            )
        self._left -= 1
        away = renders - target
        norm = 2 * away.detach().flatten(1).norm(dim=1)
        return Distilled(away.square().sum(), self._kept["t"], norm, self._kept["x0"], self.space)

    @torch.no_grad()
    def _renewed(
        self, renders: Tensor, condition: Condition, progress: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        schedule = self.denoiser.schedule
        x = self.space.to_model_space(renders)
        t = self.timesteps.draw(len(x), progress, schedule.timesteps, generator).to(x.device)
        x = schedule.add_noise(x, noise_for(x, generator), t)
        path = [t * (self.steps - i) // self.steps for i in range(self.steps)]
        for here, there in zip(path, [*path[1:], torch.full_like(t, -1)], strict=True):
            predicted = self.denoiser(x, here, condition)
            x = schedule.add_noise(predicted.x0, predicted.eps, there)
        return {"target": self.space.from_model_space(x), "x0": x, "t": t}

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.due else {**self._kept, "left": torch.tensor(self._left)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.forget()
        if state:
            self._left = int(state["left"])
            self._kept = {name: state[name] for name in ("target", "x0", "t")}
