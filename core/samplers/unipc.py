"""UniPC: Zhao et al. 2023, "A Unified Predictor-Corrector Framework for Fast Sampling of DMs"."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from core.errors import UserError
from core.samplers.common import SamplerState, predict_checked
from core.samplers.noise_levels import NoiseLevel, denoising_levels

Variant = Literal["bh1", "bh2"]


class LinearUpdate(NamedTuple):
    """x_s = decay x_t + sum_k weights[k] x0_k, over the predictions x0_k from the newest to the oldest."""

    decay: float
    weights: list[float]

    def __call__(self, x: Tensor, predictions: Sequence[Tensor]) -> Tensor:
        """x: (B,...) at t; predictions: of x0, each like x, at least as many as weights, newest first."""
        x = self.decay * x
        for weight, x0 in zip(self.weights, predictions, strict=False):
            x = x + weight * x0
        return x


def unipc(
    denoiser: DenoiserLike,
    x: Tensor,
    condition: Condition,
    *,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    end: float = -1,
    order: int = 2,
    variant: Variant = "bh2",
) -> Iterator[SamplerState]:
    """UniPC sampler (Zhao et al. 2023, algorithms 5-8, data prediction): one network call a step.

    A predictor of `order` (1 to 3) steps to the next level. The prediction made there corrects the step, to
    one order more, before the next one starts. The first and the last steps have lower order, as in the
    authors' code. Deterministic.

    variant: B(h) = -h ("bh1") or exp(-h) - 1 ("bh2", the paper's choice for guided sampling).

    The other arguments and errors are those of `ddim`.
    """
    if order not in (1, 2, 3):
        raise UserError(f"UniPC has order 1, 2 or 3, not {order}.")
    if variant not in get_args(Variant):
        raise UserError(f"Unknown variant {variant!r}: expected one of {', '.join(get_args(Variant))}.")
    levels = denoising_levels(denoiser.schedule, steps, timesteps, end)
    count = len(levels) - 1
    predictors, correctors = _updates(levels, order, variant)

    def loop(x: Tensor) -> Iterator[SamplerState]:
        predictions: list[Tensor] = []  # of x0, newest first
        start = x  # where the last predictor started
        for i, t in enumerate(levels[:-1]):
            x0 = predict_checked(denoiser, x, condition, t, i + 1, count).x0
            predictions.insert(0, x0)
            corrector = correctors[i - 1] if i > 0 else None
            start = x if corrector is None else corrector(start, predictions)
            del predictions[order:]
            x = predictors[i](start, predictions)
            yield SamplerState(x, x0, i + 1, count, t.t)

    return loop(x.detach())


def _updates(
    levels: Sequence[NoiseLevel], order: int, variant: Variant
) -> tuple[list[LinearUpdate], list[LinearUpdate | None]]:
    """Predictor and corrector of each step; None where the step cannot be corrected."""
    # Predictions from before the first finite lambda cannot be extrapolated in lambda.
    first = 1 if levels[0].alpha == 0 else 0
    predictors: list[LinearUpdate] = []
    correctors: list[LinearUpdate | None] = []
    for i, (t, s) in enumerate(pairwise(levels)):
        step_order = max(1, min(order, i + 1 - first, len(levels) - 1 - i))
        points = [levels[i - k] for k in range(step_order)]
        predictors.append(_update(points, s, variant, corrects=False))
        correctable = t.alpha > 0 and s.sigma > 0
        correctors.append(_update(points, s, variant, corrects=True) if correctable else None)
    return predictors, correctors


def _update(points: Sequence[NoiseLevel], s: NoiseLevel, variant: Variant, *, corrects: bool) -> LinearUpdate:
    """Step from points[0] to s, given predictions at the points and, for a corrector, at s before them.

    Zhao et al. 2023, equations 3 and 9 with data prediction: with h the step in lambda, r_k the distances of
    the points in units of h, and D_k = x0_k - x0_0,
    x_s = sigma_s / sigma_t x_t - alpha_s (e^-h - 1) x0_0 - alpha_s B(h) sum_k rho_k D_k / r_k.
    """
    t = points[0]
    h = s.half_log_snr - t.half_log_snr
    decay, total = s.sigma / t.sigma, -s.alpha * math.expm1(-h)
    r = [(point.half_log_snr - t.half_log_snr) / h for point in points[1:]] + [1.0] * corrects
    if not r:
        return LinearUpdate(decay, [total])
    b_h = -h if variant == "bh1" else math.expm1(-h)
    shares = [-s.alpha * b_h * rho / r_k for rho, r_k in zip(_rhos(r, h, b_h), r, strict=True)]
    weights = [total - sum(shares), *shares]
    return LinearUpdate(decay, [weights.pop(), *weights] if corrects else weights)


def _rhos(r: Sequence[float], h: float, b_h: float) -> list[float]:
    """The solution of sum_k rho_k r_k^(n-1) = n! phi_{n+1}(-h) (-h) / B(h), n = 1 .. len(r).

    Theorem 3.1 of the paper. A single one is 1/2 for any B(h), to the same order (remark there).
    """
    if len(r) == 1:
        return [0.5]
    matrix, right = [], []
    phi = math.expm1(-h) / -h  # phi_1
    for n in range(1, len(r) + 1):
        phi = (phi - 1 / math.factorial(n)) / -h  # phi_{n+1}
        matrix.append([r_k ** (n - 1) for r_k in r])
        right.append(math.factorial(n) * phi * -h / b_h)
    solved = torch.linalg.solve(
        torch.tensor(matrix, dtype=torch.float64), torch.tensor(right, dtype=torch.float64)
    )
    return solved.tolist()
