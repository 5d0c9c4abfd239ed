"""What every sampling loop uses: its state, the checked network call, and per-sample noise."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike, Prediction
from core.finite import require_finite
from core.io.machine import precise_dtype
from core.samplers.noise_levels import NoiseLevel


class SamplerState(NamedTuple):
    """State of a sampling loop after one step."""

    x: Tensor  # (B,...) sample at the noise level of the next timestep; the result after the last step
    x0: Tensor  # (B,...) the denoiser's current prediction of the result
    step: int  # 1 .. steps
    steps: int
    t: float  # timestep at which the denoiser was evaluated; an int unless the spacing is fractional


@torch.no_grad()
def predict_checked(
    denoiser: DenoiserLike, x: Tensor, condition: Condition, level: NoiseLevel, step: int, steps: int
) -> Prediction:
    """The denoiser's prediction for x (B,...) at a noise level, without gradient.

    Raises UserError, naming the step, when the prediction is not finite.
    """
    dtype = torch.long if isinstance(level.t, int) else precise_dtype(x.device)
    t = torch.full((len(x),), level.t, dtype=dtype, device=x.device)
    prediction = denoiser(x, t, condition)
    where = f"at step {step} of {steps} (timestep {level.t:g})"
    require_finite(prediction.x0, "The network's output", where)
    return prediction


def noise_like(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """Standard normal float32 noise, sample i from generator i: a sample never depends on its batch.

    shape: (B,...), B = len(generators). The generators share one device; the noise is made there.

    Raises ValueError when the numbers of generators and samples differ.
    """
    if len(generators) != shape[0]:
        raise ValueError(f"{len(generators)} generators for a batch of {shape[0]}")
    return torch.stack([torch.randn(tuple(shape[1:]), generator=g, device=g.device) for g in generators])


def check_generators(
    generators: Sequence[torch.Generator] | None, x: Tensor, *, needed: bool
) -> Sequence[torch.Generator]:
    """The generators of a sampler that adds noise, an empty tuple where none are needed.

    Raises ValueError when they are needed and there is not one for each sample.
    """
    if not needed:
        return ()
    if generators is None or len(generators) != len(x):
        raise ValueError(f"this sampler adds noise: it needs {len(x)} generators, one for each sample")
    return generators
