"""UniPC: Zhao et al. 2023, "A Unified Predictor-Corrector Framework for Fast Sampling of DMs"."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike, Prediction
from core.errors import UserError
from core.samplers.sampling_loop import NoiseLevel, SamplerState, denoising_levels, sampling_loop

Variant = Literal["bh1", "bh2"]


class LinearUpdate(NamedTuple):
    """x_s = keep x_t + sum_k weights[k] x0_k, over predictions x0_k from the newest on."""

    keep: float
    weights: list[float]


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
    """UniPC (Zhao et al. 2023, algorithms 5-8, in data prediction), deterministic, one network call a step.

    A predictor of `order` (1 to 3) goes to the next level; the prediction made there corrects the arrival, to
    one order more, before the next step starts. The first and the last steps have lower order, as in the
    authors' code.

    variant: B(h) = -h ("bh1") or exp(-h) - 1 ("bh2", the paper's choice for guided sampling).
    The other arguments and errors are those of `ddim`.
    """
    if order not in (1, 2, 3):
        raise UserError(f"UniPC has order 1, 2 or 3, not {order}.")
    if variant not in get_args(Variant):
        raise UserError(f"Unknown variant {variant!r}: expected one of {', '.join(get_args(Variant))}.")
    path = denoising_levels(denoiser.schedule, steps, timesteps, end)
    # Predictions from before the first finite lambda cannot be extrapolated in lambda.
    first = 1 if path[0].alpha == 0 else 0
    predictors, correctors = [], []
    for i in range(len(path) - 1):
        now = max(1, min(order, i + 1 - first, len(path) - 1 - i))
        points = [path[i - k] for k in range(now)]
        predictors.append(_rule(points, path[i + 1], variant, corrects=False))
        correctable = path[i].alpha > 0 and path[i + 1].sigma > 0
        correctors.append(_rule(points, path[i + 1], variant, corrects=True) if correctable else None)
    guesses: list[Tensor] = []  # of x0, newest first
    origin = x  # what the last predictor started from

    def move(x: Tensor, prediction: Prediction, i: int) -> Tensor:
        nonlocal origin
        guesses.insert(0, prediction.x0)
        corrector = correctors[i - 1] if i > 0 else None
        if corrector is not None:
            x = _applied(corrector, origin, guesses)
        origin = x
        del guesses[order:]
        return _applied(predictors[i], x, guesses)

    return sampling_loop(denoiser, x, condition, path, move)


def _applied(rule: LinearUpdate, x: Tensor, guesses: Sequence[Tensor]) -> Tensor:
    x = rule.keep * x
    for weight, x0 in zip(rule.weights, guesses, strict=False):
        x = x + weight * x0
    return x


def _rule(points: Sequence[NoiseLevel], s: NoiseLevel, variant: Variant, *, corrects: bool) -> LinearUpdate:
    """The step from points[0] to s, given predictions at the points and, if it corrects, at s before them.

    Zhao et al. 2023, equations 3 and 9 with data prediction: with h the step in lambda, r_k the distances of
    the points in units of h, and D_k = x0_k - x0_0,
    x_s = sigma_s / sigma_t x_t - alpha_s (e^-h - 1) x0_0 - alpha_s B(h) sum_k rho_k D_k / r_k.
    """
    t = points[0]
    h = s.half_log_snr - t.half_log_snr
    keep, whole = s.sigma / t.sigma, -s.alpha * math.expm1(-h)
    r = [(point.half_log_snr - t.half_log_snr) / h for point in points[1:]] + [1.0] * corrects
    if not r:
        return LinearUpdate(keep, [whole])
    b_h = -h if variant == "bh1" else math.expm1(-h)
    shares = [-s.alpha * b_h * rho / r_k for rho, r_k in zip(_rhos(r, h, b_h), r, strict=True)]
    weights = [whole - sum(shares), *shares]
    return LinearUpdate(keep, [weights.pop(), *weights] if corrects else weights)


def _rhos(r: Sequence[float], h: float, b_h: float) -> list[float]:
    """The solution of sum_k rho_k r_k^(n-1) = n! phi_{n+1}(-h) (-h) / B(h), n = 1 .. len(r) (there, theorem
    3.1). A single one is 1/2 for any B(h), to the same order (remark there)."""
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
