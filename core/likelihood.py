"""How likely a model finds given data, in bits per dimension: less is better.

Of discrete data, `levels` values evenly spaced over [-1, 1] (256 for pixels of 8 bits), it is the length of a
code: 0 where all is foreseen, log2(levels) where nothing is known. Of continuous data, `levels=None`, it is
-log2 of a density in units of the data: it may be negative, and compares only with models of the same data.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from core.condition import Condition
from core.diffusion.denoiser import DenoiserLike
from core.diffusion.schedule import NoiseSchedule
from core.losses import gaussian_log_density, prior_bits, reverse_step_bits
from core.samplers import noise_like

Probes = Literal["rademacher", "gaussian", "exact"]


class VariationalBound(NamedTuple):
    """The parts of an upper bound on the bits per dimension, each an estimate without bias."""

    prior: Tensor  # (B,) L_T: what the last timestep still knows of the data
    steps: Tensor  # (B,T-1) the KL divergences at t = 1 .. T-1
    decoder: Tensor  # (B,) L_0: the data given the step at t = 0

    @property
    def total(self) -> Tensor:
        """(B,) bits per dimension."""
        return self.prior + self.steps.sum(1) + self.decoder


@torch.no_grad()
def variational_bound(
    denoiser: DenoiserLike,
    x0: Tensor,
    condition: Condition,
    *,
    generators: Sequence[torch.Generator],
    levels: int | None = 256,
    fixed: float = 0.0,
    on_step: Callable[[int], None] | None = None,
) -> VariationalBound:
    """The bound of ancestral sampling over all timesteps (Ho et al. 2020, equation 5). T network calls.

    x0: (B,...) in [-1, 1], or anything with levels None; for those see the module, for `fixed`
    `core.losses.reverse_step_bits`: 0 and 1 are the variances of `core.samplers.ddpm`.
    generators: one a sample, of the noise at every timestep.
    on_step: called with each t when it is done, T-1 to 0.
    """
    schedule, terms = denoiser.schedule, []
    for step in reversed(range(schedule.timesteps)):
        t = torch.full((len(x0),), step, device=x0.device)
        xt = schedule.add_noise(x0, noise_like(x0.shape, generators).to(x0), t)
        terms.append(reverse_step_bits(schedule, denoiser(xt, t, condition), x0, xt, t, levels, fixed))
        if on_step:
            on_step(step)
    decoder, *steps = reversed(terms)
    return VariationalBound(prior_bits(schedule, x0), torch.stack(steps, dim=1), decoder)


class FlowLikelihood(NamedTuple):
    """What the probability flow says of data."""

    bits_per_dim: Tensor  # (B,)
    latent: Tensor  # (B,...) where the flow ends: N(0, alpha_T^2 + sigma_T^2) if the model is right


def flow_likelihood(
    denoiser: DenoiserLike,
    x0: Tensor,
    condition: Condition,
    *,
    generators: Sequence[torch.Generator],
    levels: int | None = 256,
    steps: int | None = None,
    probes: Probes = "rademacher",
    probe_count: int = 1,
    on_step: Callable[[int], None] | None = None,
) -> FlowLikelihood:
    """The exact density of the deterministic sampler, DDIM in small steps (Song et al. 2021, equation 39).

    With y = x / alpha and s = sigma / alpha the probability flow is dy/ds = eps(x, t) (DDIM, equation 14),
    along which d log p(y)/ds = -alpha tr(d eps/dx). The trace falls as s does near the data and as 1 / s far
    from it; over u = asinh(s) it is nearly straight at either end. So Heun's method takes y over s, and the
    trace over u.

    x0: (B,...); discrete data is dequantized, which bounds its bits per dimension from above.
    generators: one a sample, of the dequantization and the probes.
    levels: see the module.
    steps: how many timesteps, evenly spaced, are visited, with two network calls each; all T unless given.
    probes: the trace is v' (d eps / d x) v for one random v along the whole path, Hutchinson's estimate,
        without bias; or "exact", from as many gradients as a sample has values.
    probe_count: how many random v are averaged, with a gradient each.
    on_step: called with each t when it is reached, 0 to T-1.

    The denoiser must be differentiable in x. A clip gives its flow kinks: better make it without. Raises
    ValueError for unknown probes, no probe, and steps that are not from 2 to T.
    """
    schedule = denoiser.schedule
    path = _path(schedule, steps)
    v = _probes(x0, generators, probes, probe_count)
    data = x0 if levels is None else dequantize(x0, generators, levels)

    def flow(y: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """dy/ds (B,...) and d log p(y)/du (B,) in nats."""
        if step < 0:
            return torch.zeros_like(y), y.new_zeros(len(y))  # towards clean data both are in proportion to s
        t = torch.full((len(y),), step, device=y.device)
        alpha, sigma = schedule.alpha(step).item(), schedule.sigma(step).item()
        with torch.enable_grad():
            x = (alpha * y).requires_grad_()
            eps = denoiser(x, t, condition).eps
            trace = _trace(eps, x, v)
        return eps.detach(), -math.hypot(alpha, sigma) * trace  # ds/du = sqrt(1 + s^2)

    y, change, s = data, data.new_zeros(len(data)), 0.0
    for step, following in pairwise([-1, *path]):
        next_s = schedule.sigma(following).item() / schedule.alpha(following).item()
        slope, growth = flow(y, step)
        next_slope, next_growth = flow(y + (next_s - s) * slope, following)
        y = y + (next_s - s) / 2 * (slope + next_slope)
        change = change + (math.asinh(next_s) - math.asinh(s)) / 2 * (growth + next_growth)
        s = next_s
        if on_step:
            on_step(following)

    alpha, sigma = schedule.alpha(path[-1]).item(), schedule.sigma(path[-1]).item()
    latent, dims = alpha * y, x0[0].numel()
    log_variance = latent.new_tensor(2 * math.log(math.hypot(alpha, sigma)))
    arrived = gaussian_log_density(latent, latent.new_zeros(()), log_variance).flatten(1).sum(1)
    log_density = arrived + dims * math.log(alpha) - change
    bits = -log_density / (dims * math.log(2))
    return FlowLikelihood(bits if levels is None else bits - math.log2(_bin_width(levels)), latent)


def dequantize(x: Tensor, generators: Sequence[torch.Generator], levels: int = 256) -> Tensor:
    """Discrete data (B,...), evenly spaced over [-1, 1], moved uniformly within its bins, which touch.

    -log2 of a density of the result, less log2 of a bin's width, is on average at least -log2 of the
    probability of the level (Theis et al. 2016, "A note on the evaluation of generative models", section 3).
    """
    moved = [torch.rand(x.shape[1:], generator=g, device=g.device) - 0.5 for g in generators]
    return x + _bin_width(levels) * torch.stack(moved).to(x)


def _bin_width(levels: int) -> float:
    return 2 / (levels - 1)


def _path(schedule: NoiseSchedule, steps: int | None) -> list[int]:
    """Timesteps, ascending, from 0 to the last that has any signal."""
    last = schedule.timesteps - 1
    if schedule.alpha(last) == 0:
        last -= 1
    steps = last + 1 if steps is None else steps
    if not 2 <= steps <= last + 1:
        raise ValueError(f"the flow takes between 2 and {last + 1} steps, not {steps}")
    return [round(i * last / (steps - 1)) for i in range(steps)]


def _probes(x: Tensor, generators: Sequence[torch.Generator], probes: Probes, count: int) -> Tensor:
    """(K,B,...) vectors v like x, for which the trace of J is, or is on average, the sum of v' J v."""
    if probes == "exact":
        basis = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device)
        return basis.view(-1, 1, *x.shape[1:]).expand(-1, *x.shape)
    if probes not in ("rademacher", "gaussian") or count < 1:
        raise ValueError(f"unknown probes, or none: {probes!r}, {count}")
    v = torch.stack([noise_like(x.shape, generators) for _ in range(count)]).to(x)
    return (v if probes == "gaussian" else torch.where(v < 0, -1.0, 1.0).to(x)) / count**0.5


def _trace(output: Tensor, x: Tensor, probes: Tensor) -> Tensor:
    """The sum over the probes of v' (d output / d x) v, (B,)."""
    total = x.new_zeros(len(x))
    for v in probes:
        (product,) = torch.autograd.grad(output, x, v, retain_graph=True)
        total = total + (product * v).flatten(1).sum(1)
    return total
