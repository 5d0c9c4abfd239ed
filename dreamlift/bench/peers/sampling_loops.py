"""Overhead of a sampling loop, without its network calls: ours, diffusers' and k-diffusion's.

All three sample the same tiny network with the same number of steps. The preparation of a loop (noise levels,
`set_timesteps`, sigmas) does not count. Ours checks that every prediction is finite and yields a state per
step; the others do neither.

Of its many dependencies, k-diffusion's samplers need torchdiffeq, torchsde and torchvision. It has neither
UniPC nor flows. Its DDIM is `sample_euler`, the same steps in other coordinates; its DDPM is
`sample_euler_ancestral`, another discretization.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from core.attributes import encode_attributes
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.samplers import ddim, ddpm, dpm_solver, euler, heun, unipc
from dreamlift.bench.peers.imports import import_part
from dreamlift.bench.plan import compare, timed
from dreamlift.bench.results import OURS, Comparison
from dreamlift.bench.rounds import Side

TABLE = "Overhead of a sampling loop"
K_DIFFUSION = "k-diffusion"
CPU = torch.device("cpu")
SHAPE = (4, 3, 16, 16)
CONDITION = Condition(torch.zeros(4, 1, 8), torch.ones(4, 1, dtype=torch.bool), encode_attributes(4))
SCHEDULE = NoiseSchedule.scaled_linear()
SETTINGS = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
}

Loop = Callable[[], object]
Prepare = Callable[[int], Loop]
"""Prepares a loop of the given number of steps, to be run once."""


class Case(NamedTuple):
    """One sampler in each library that has it."""

    ours: Prepare
    diffusers: Prepare
    k_diffusion: Prepare | None = None
    in_k_diffusion: bool = False  # also where it is not installed
    second_order: bool = False  # two network calls per step, one in the last


class Network(nn.Module):
    """A minimal network, so that the overhead dominates."""

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """tanh(x), of the same shape as x."""
        return torch.tanh(x)


def ours(
    sampler: Callable[..., Any],
    denoiser: Denoiser,
    steps: int,
    condition: Condition = CONDITION,
    shape: Sequence[int] = SHAPE,
    **settings: Any,
) -> Loop:
    """A loop over one of our samplers."""
    states = sampler(denoiser, torch.randn(*shape), condition, steps=steps, **settings)

    def loop() -> None:
        for _ in states:
            pass

    return loop


def diffusers_loop(
    network: nn.Module,
    name: str,
    settings: dict[str, Any],
    steps: int,
    condition: Condition = CONDITION,
    shape: Sequence[int] = SHAPE,
    **step: Any,
) -> Loop:
    """A loop around a diffusers scheduler, as in diffusers' documentation."""
    diffusers: Any = import_module("diffusers")  # imports its names lazily; type checkers cannot see them
    scheduler = getattr(diffusers, name)(**settings)
    scheduler.set_timesteps(steps)
    start = torch.randn(*shape) * getattr(scheduler, "init_noise_sigma", 1.0)
    scaled = hasattr(scheduler, "scale_model_input")

    @torch.no_grad()
    def loop() -> None:
        x = start
        for t in scheduler.timesteps:
            output = network(scheduler.scale_model_input(x, t) if scaled else x, t.expand(len(x)), condition)
            x = scheduler.step(output, t, x, **step).prev_sample

    return loop


def k_diffusion_samplers() -> Any | None:
    """k-diffusion's module `external`, which has `sampling` in it; None if it is not installed."""
    transforms = {"torchvision": {}, "torchvision.transforms": {"functional": None}}
    return import_part("k_diffusion", "external", transforms)


def k_diffusion_loop(package: Any, network: Network, name: str, steps: int) -> Loop:
    """A loop of a k-diffusion sampler, with its wrapper for v-prediction at discrete timesteps."""
    abar = SCHEDULE.alpha(torch.arange(SCHEDULE.timesteps)).float() ** 2
    model = package.DiscreteVDDPMDenoiser(network, abar, quantize=True)
    sigmas = model.get_sigmas(steps)
    start = torch.randn(SHAPE) * sigmas[0]
    extra_args = {"condition": CONDITION}
    sampler = getattr(package.sampling, name)
    return lambda: sampler(model, start, sigmas, extra_args=extra_args, disable=True)


def cases(package: Any | None) -> dict[str, Case]:
    """The samplers by name; without the package of k-diffusion, in ours and in diffusers only."""
    network = Network()
    denoiser = Denoiser(network, SCHEDULE, Parameterization.V)
    flow = Denoiser(network, NoiseSchedule.flow(shift=3.0), Parameterization.FLOW)
    seeds = {"generators": [torch.Generator().manual_seed(i) for i in range(SHAPE[0])]}
    seed = {"generator": torch.Generator().manual_seed(0)}
    theirs = partial(diffusers_loop, network)
    k = None if package is None else partial(k_diffusion_loop, package, network)
    return {
        "DDIM": Case(
            partial(ours, ddim, denoiser),
            partial(theirs, "DDIMScheduler", {**SETTINGS, "clip_sample": False}),
            k and partial(k, "sample_euler"),
            in_k_diffusion=True,
        ),
        "DDPM": Case(
            partial(ours, ddpm, denoiser, **seeds),
            partial(theirs, "DDPMScheduler", {**SETTINGS, "clip_sample": False}, **seed),
            k and partial(k, "sample_euler_ancestral"),
            in_k_diffusion=True,
        ),
        "DPM-Solver++(2M)": Case(
            partial(ours, dpm_solver, denoiser),
            partial(theirs, "DPMSolverMultistepScheduler", SETTINGS),
            k and partial(k, "sample_dpmpp_2m"),
            in_k_diffusion=True,
        ),
        "UniPC": Case(partial(ours, unipc, denoiser), partial(theirs, "UniPCMultistepScheduler", SETTINGS)),
        "Heun": Case(
            partial(ours, heun, denoiser),
            partial(theirs, "HeunDiscreteScheduler", SETTINGS),
            k and partial(k, "sample_heun"),
            in_k_diffusion=True,
            second_order=True,
        ),
        "flow Euler": Case(
            partial(ours, euler, flow), partial(theirs, "FlowMatchEulerDiscreteScheduler", {"shift": 3.0})
        ),
    }


def network_calls(calls: int) -> Loop:
    """A loop of network calls only."""
    network, x, t = Network(), torch.randn(SHAPE), torch.zeros(SHAPE[0], dtype=torch.long)

    @torch.no_grad()
    def loop() -> None:
        for _ in range(calls):
            network(x, t, CONDITION)

    return loop


def overhead(prepare: Prepare, steps: int, calls: int) -> Side:
    """Seconds per step of a loop without its network calls, which are timed next to it."""

    def side() -> float:
        loop = prepare(steps)
        alone = timed(network_calls(calls), CPU)()
        return (timed(loop, CPU)() - alone) / steps

    return side


def measure(name: str, case: Case, repeats: int, *, steps: int = 50, peers: bool = True) -> Comparison:
    """Compares the overhead of the loops of a sampler in each library that has it."""
    calls = 2 * steps - 1 if case.second_order else steps
    loops = {OURS: case.ours}
    if peers:
        loops["diffusers"] = case.diffusers
    sides: dict[str, Side | None] = {
        library: overhead(prepare, steps, calls) for library, prepare in loops.items()
    }
    if peers and case.in_k_diffusion:
        sides[K_DIFFUSION] = case.k_diffusion and overhead(case.k_diffusion, steps, calls)
    return compare(TABLE, name, sides, repeats, per="step")


def with_network(denoiser: Denoiser, condition: Condition, shape: Sequence[int]) -> dict[str, Prepare]:
    """Loops of DPM-Solver++ over a denoiser that predicts v, network calls included: ours and diffusers'.

    condition: of length B; shape: (B,C,...) of the samples.
    """
    alpha = denoiser.schedule.alpha(torch.arange(denoiser.schedule.timesteps)).double()
    previous = torch.cat([alpha.new_ones(1), alpha[:-1]])
    settings = {**SETTINGS, "trained_betas": (1 - (alpha / previous) ** 2).tolist()}
    same = {"condition": condition, "shape": shape}
    return {
        OURS: partial(ours, dpm_solver, denoiser, **same),
        "diffusers": partial(
            diffusers_loop, denoiser.network, "DPMSolverMultistepScheduler", settings, **same
        ),
    }
