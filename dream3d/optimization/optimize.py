"""The optimization loop of score distillation: a field is fitted to what a frozen denoiser predicts.

optimization = Optimization(field, make_distillation, backgrounds, options, image_size=64, seed=0)
for state in optimization:
    ...  # show state.result.renders, save optimization.state_dict(), or break
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.finite import is_finite, require_finite
from core.io.weights import first_misfit
from core.nn.adam import Adam
from dream3d.distill import Distillation
from dream3d.nerf.radiance_fields import RadianceField
from dream3d.optimization import regularizers
from dream3d.optimization.backgrounds import Backgrounds
from dream3d.optimization.view_renderer import ViewRenderer
from dream3d.optimization.view_strategies import StepResult, ViewStrategy, make_view_strategy
from dream3d.options import ObjectOptions, Stage

UPDATE_OCCUPANCY_EVERY = 16  # iterations
DIVERGED = (
    "the optimization diverged, or the model's numbers overflow in this precision; try a smaller "
    "learning_rate or other weights in the preset, or another dtype, such as float32"
)

DistillationFactory = Callable[[Stage], Distillation]
"""Makes the distillation loss of a stage."""


@dataclass(frozen=True, eq=False)
class OptimizationState:
    """State of the optimization after one iteration."""

    iteration: int  # 1 .. iterations
    iterations: int
    result: StepResult
    losses: dict[str, float]  # by name, weighted


class Optimization:
    """Optimization of a field: an iterator over `OptimizationState`s that updates the field in place.

    All random numbers come from one generator on the CPU, so a run resumed from `state_dict` gives the same
    bytes as an uninterrupted one.
    """

    def __init__(
        self,
        field: RadianceField,
        make_distillation: DistillationFactory,
        backgrounds: Backgrounds,
        options: ObjectOptions,
        *,
        image_size: int,
        seed: int,
        phase: float | None = None,
    ) -> None:
        """field: a `VoxelField` is refined from stage to stage; `views.field` is the current one.

        make_distillation: makes the loss of each stage.
        image_size: side of the model's images in pixels.
        seed: of all random numbers.
        phase: of the action, [0, 1), if it has one.
        """
        self.make_distillation = make_distillation
        self.options = options
        self.views = ViewRenderer(
            field,
            backgrounds,
            options,
            image_size=image_size,
            generator=torch.Generator().manual_seed(seed),
            phase=phase,
        )
        self._begin_stage(0, None)

    def _begin_stage(self, stage: int, previous: ViewStrategy | None) -> None:
        """Makes the view strategy and the optimizer of a stage. previous: the last stage's strategy."""
        self.stage = stage
        options = self.options.stages[stage]
        distillation = self.make_distillation(options)
        self.views.begin_stage(options)
        self.view_strategy = make_view_strategy(distillation, self.options.target_buffer, previous)
        parameters = [*self.views.field.parameters(), *self.views.backgrounds.learned.parameters()]
        rate = self.options.learning_rate
        self.optimizer = Adam(parameters, rate, betas=(0.9, 0.99), eps=1e-15)

    @property
    def field(self) -> RadianceField:
        """The field at its current resolution."""
        return self.views.field

    @property
    def iteration(self) -> int:
        """Number of completed iterations."""
        return self.views.iteration

    def stage_at(self, iteration: int) -> int:
        """Index of the stage of an iteration, which is counted from 0."""
        end = 0.0
        for index, stage in enumerate(self.options.stages):
            end += stage.share * self.options.iterations
            if iteration < round(end):
                return index
        return len(self.options.stages) - 1

    def __iter__(self) -> Iterator[OptimizationState]:
        """Runs the remaining iterations and yields the state after each."""
        while self.iteration < self.options.iterations:
            stage = self.stage_at(self.iteration)
            if stage != self.stage:
                self._begin_stage(stage, self.view_strategy)
            yield self._step()

    def _step(self) -> OptimizationState:
        """One iteration: loss, Adam step, and the occupancy grid's update every 16 iterations.

        Raises UserError for a loss that is not finite; the field is then as it was.
        """
        result = self.view_strategy(self.views)
        losses = {"distillation": result.loss, **self._penalties(result)}
        self.optimizer.zero_grad()
        self.optimizer.learning_rate = self.learning_rate
        torch.stack(list(losses.values())).sum().backward()
        for name, loss in losses.items():
            where = f"at iteration {self.iteration + 1} of {self.options.iterations}"
            require_finite(loss.detach(), f"The loss {name}", where, DIVERGED)
        self.optimizer.step()
        self.views.iteration += 1
        if self.iteration % UPDATE_OCCUPANCY_EVERY == 0:
            self.views.occupancy.update(self.field)
        numbers = {name: loss.item() for name, loss in losses.items()}
        return OptimizationState(self.iteration, self.options.iterations, result, numbers)

    def check_field(self) -> None:
        """Raises UserError for a field whose weights are not finite."""
        for name, weight in self.field.named_parameters():
            where = f"after iteration {self.iteration} of {self.options.iterations}"
            require_finite(weight.detach(), f"The field's weight {name}", where, DIVERGED)

    def _penalties(self, result: StepResult) -> dict[str, Tensor]:
        """The weighted regularizers whose weight is not 0."""
        weights, render, samples = self.options.weights, result.render, result.render.samples
        field, generator = self.field, self.views.generator
        penalties: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "sparsity": (weights.sparsity, lambda: regularizers.sparsity(render)),
            "entropy": (weights.entropy, lambda: regularizers.entropy(render)),
            "orientation": (weights.orientation, lambda: regularizers.orientation(samples)),
            "smoothness": (weights.smoothness, lambda: regularizers.smoothness(field, samples, generator)),
            "distortion": (weights.distortion, lambda: regularizers.distortion(samples)),
            "empty_space": (weights.empty_space, lambda: regularizers.empty_space(field, generator)),
        }
        return {name: weight * penalty() for name, (weight, penalty) in penalties.items() if weight}

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next iteration: constant, then linear to 0 in the last `decay` share."""
        decay = self.options.decay
        return self.options.learning_rate * (min(1.0, (1 - self.views.progress) / decay) if decay else 1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """All tensors that the next iteration depends on, named "part/name"."""
        views = self.views
        state = {
            "run/iteration": torch.tensor(self.iteration),
            "run/generator": views.generator.get_state(),
        }
        parts: dict[str, Mapping[str, Tensor]] = {
            "field": self.field.state_dict(),
            "background": views.backgrounds.learned.state_dict(),
            "occupancy": views.occupancy.state_dict(),
            "view_strategy": self.view_strategy.state_dict(),
        }
        for number, moments in self.optimizer.state.items():
            parts[f"optimizer/{number}"] = moments
        for part, tensors in parts.items():
            state |= {f"{part}/{name}": value.detach().clone() for name, value in tensors.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores `state_dict`. Raises ValueError, with the tensor, for a state that is not of this run."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        def restore(module: nn.Module, name: str) -> None:
            if misfit := first_misfit(module.state_dict(), part(f"{name}/")):
                raise ValueError(f"{name}/{misfit}")
            module.load_state_dict(part(f"{name}/"))

        if missing := sorted({"run/iteration", "run/generator"} - state.keys()):
            raise ValueError(f"{missing[0]} is missing")
        for name, tensor in state.items():
            if not is_finite(tensor):
                raise ValueError(f"{name} is not finite")
        self.views.iteration = self._read_iteration(state["run/iteration"])
        self._begin_stage(self.stage_at(max(0, self.iteration - 1)), None)
        restore(self.field, "field")
        restore(self.views.backgrounds.learned, "background")
        restore(self.views.occupancy, "occupancy")
        self.view_strategy.load_state_dict(part("view_strategy/"))
        seen, side = state.get("view_strategy/seen"), self.views.image_size
        if seen is not None and seen.shape[1:] != (3, side, side):
            raise ValueError(f"its stored targets have the shape {tuple(seen.shape)}")
        if self.iteration and not part("optimizer/"):
            raise ValueError("the state of the optimizer is missing")
        moments = {n: part(f"optimizer/{n}/") for n in range(len(self.optimizer.parameters))}
        self.optimizer.load_state({number: values for number, values in moments.items() if values})
        generator = self.views.generator.get_state()
        if misfit := first_misfit({"run/generator": generator}, {"run/generator": state["run/generator"]}):
            raise ValueError(misfit)
        self.views.generator.set_state(state["run/generator"].to(generator.dtype))
        if misfit := first_misfit(self.state_dict(), state):
            raise ValueError(misfit)

    def _read_iteration(self, stored: Tensor) -> int:
        """The number of completed iterations. Raises ValueError for one that cannot be."""
        if stored.numel() != 1 or stored.is_floating_point() or not 0 <= stored <= self.options.iterations:
            raise ValueError(f"its iteration is not a whole number from 0 to {self.options.iterations}")
        return int(stored)
