"""What the three pipelines of the Python API share: names of models, seeds and callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from warnings import warn

import torch

from core.errors import UserError
from core.notice import Notice
from core.samplers import SamplerState
from core.sampling import StepCallback

if TYPE_CHECKING:
    from core.toybox.prompts import PromptReading

EndOfStep = Callable[[Any, int, float, dict[str, torch.Tensor]], Any]
"""`callback_on_step_end` of diffusers: (pipeline, step from 0, timestep, {"latents": x, "x0": x0})."""


def resolve_seed(seed: int | None, generator: torch.Generator | None) -> int:
    """The seed of one sample: the one given, one drawn from a generator, or 0.

    Raises UserError when both are given.
    """
    if seed is not None and generator is not None:
        raise UserError("Give either a seed or a generator, not both.")
    if generator is not None:
        return int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return 0 if seed is None else seed


def step_callback(pipeline: Any, callback: EndOfStep | None) -> StepCallback:
    """A sampler's callback that calls `callback_on_step_end`; what that returns is not used."""

    def on_step(state: SamplerState) -> None:
        if callback:
            callback(pipeline, state.step - 1, state.t, {"latents": state.x, "x0": state.x0})

    return on_step


def warn_of(reading: PromptReading | None) -> None:
    """Warns of what of a prompt the bundled model cannot draw."""
    from core.toybox.prompts import sentences

    for sentence in sentences([reading] if reading else []):
        warn(sentence, Notice, stacklevel=3)
