"""Negative log-likelihood of data under a model, in bits per dimension: lower is better.

Discrete data has `levels` values evenly spaced over [-1, 1] (256 for pixels of 8 bits). Its bits per
dimension are a code length: 0 for perfectly predicted data, log2(levels) for a uniform model. For continuous
data, `levels=None`, they are -log2 of a density in units of the data. That may be negative, and is comparable
only between models of the same data.
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
    """Terms of the variational upper bound on the bits per dimension, each an unbiased estimate."""

    prior: Tensor  # (B,) L_T: KL divergence of the last timestep from the prior
    steps: Tensor  # (B,T-1) the KL divergences at t = 1 .. T-1
    decoder: Tensor  # (B,) L_0: the data given the step at t = 0

    @property
    def total(self) -> Tensor:
        """The bound, (B,) bits per dimension: the sum of its terms."""
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
    """Variational bound of ancestral sampling over all T timesteps (Ho et al. 2020, equation 5).

    It takes T network calls.

    x0: (B,...) in [-1, 1], or in any range where levels is None.
    generators: one per sample, for the noise at every timestep.
    levels: see the module's docstring.
    fixed: see `core.losses.reverse_step_bits`; 0 and 1 are the fixed variances of `core.samplers.ddpm`.
    on_step: called with each t after its term is computed, from T-1 down to 0.
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
    """Likelihood of data under the probability-flow ODE, and the latent that the data is mapped to."""

    bits_per_dim: Tensor  # (B,)
    latent: Tensor  # (B,...) end of the flow: N(0, alpha_T^2 + sigma_T^2) distributed if the model is exact


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
    """Density under the probability-flow ODE, which is DDIM in small steps (Song et al. 2021, equation 39).

    With y = x / alpha and s = sigma / alpha the ODE is dy/ds = eps(x, t) (DDIM, equation 14), and
    d log p(y)/ds = -alpha tr(d eps/dx) along it. The trace is proportional to s near the data and to 1 / s
    far from it. As a function of u = asinh(s) it is nearly linear at both ends. Heun's method therefore
    integrates y over s, and the trace over u.

    x0: (B,...); discrete data is dequantized, which gives an upper bound on its bits per dimension.
    generators: one per sample, for the dequantization and the probes.
    levels: see the module's docstring.
    steps: number of evenly spaced timesteps, with two network calls each; all T unless given.
    probes: distribution of v in v' (d eps / d x) v, Hutchinson's unbiased estimate of the trace; the same v
        is used along the entire path. "exact" computes the trace from as many gradients as a sample has
        values.
    probe_count: number of random v that are averaged, with one gradient each.
    on_step: called with each t when it is reached, from 0 to T-1.

    The denoiser must be differentiable in x. A denoiser with `clip` has a flow with kinks: use one without.
    Raises ValueError for unknown probes, a probe_count below 1, and steps outside [2, T].
    """
    schedule = denoiser.schedule
    path = _path(schedule, steps)
    v = _probes(x0, generators, probes, probe_count)
    data = x0 if levels is None else dequantize(x0, generators, levels)

    def flow(y: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """dy/ds (B,...) and d log p(y)/du (B,) in nats."""
        if step < 0:
            return torch.zeros_like(y), y.new_zeros(len(y))  # near clean data both are proportional to s
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
    prior = gaussian_log_density(latent, latent.new_zeros(()), log_variance).flatten(1).sum(1)
    log_density = prior + dims * math.log(alpha) - change
    bits = -log_density / (dims * math.log(2))
    return FlowLikelihood(bits if levels is None else bits - math.log2(_bin_width(levels)), latent)


def dequantize(x: Tensor, generators: Sequence[torch.Generator], levels: int = 256) -> Tensor:
    """Uniform dequantization of discrete data (B,...), `levels` values evenly spaced over [-1, 1].

    Each value is moved uniformly within its bin; the bins are adjacent. -log2 of a density of the result,
    minus log2 of a bin's width, is on average at least -log2 of the probability of the level (Theis et al.
    2016, "A note on the evaluation of generative models", section 3).
    """
    offsets = [torch.rand(x.shape[1:], generator=g, device=g.device) - 0.5 for g in generators]
    return x + _bin_width(levels) * torch.stack(offsets).to(x)


def _bin_width(levels: int) -> float:
    """Distance between neighboring levels over [-1, 1]."""
    return 2 / (levels - 1)


def _path(schedule: NoiseSchedule, steps: int | None) -> list[int]:
    """Evenly spaced timesteps, ascending, from 0 to the last one with any signal."""
    last = schedule.timesteps - 1
    if schedule.alpha(last) == 0:
        last -= 1
    steps = last + 1 if steps is None else steps
    if not 2 <= steps <= last + 1:
        raise ValueError(f"the flow takes between 2 and {last + 1} steps, not {steps}")
    return [round(i * last / (steps - 1)) for i in range(steps)]


def _probes(x: Tensor, generators: Sequence[torch.Generator], probes: Probes, count: int) -> Tensor:
    """(K,B,...) probe vectors v: the sum of v' J v is the trace of J, in expectation for random probes."""
    if probes == "exact":
        basis = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device)
        return basis.view(-1, 1, *x.shape[1:]).expand(-1, *x.shape)
    if probes not in ("rademacher", "gaussian") or count < 1:
        raise ValueError(f"unknown probes {probes!r}, or a probe_count below 1: {count}")
    v = torch.stack([noise_like(x.shape, generators) for _ in range(count)]).to(x)
    return (v if probes == "gaussian" else torch.where(v < 0, -1.0, 1.0).to(x)) / count**0.5


def _trace(output: Tensor, x: Tensor, probes: Tensor) -> Tensor:
    """Sum over the probes of v' (d output / d x) v, (B,)."""
    total = x.new_zeros(len(x))
    for v in probes:
        (product,) = torch.autograd.grad(output, x, v, retain_graph=True)
        total = total + (product * v).flatten(1).sum(1)
    return total
