"""Overhead of a sampling loop per step, without its network calls: ours, diffusers' and k-diffusion's.

    python -m benchmarks.sampling_overhead [--steps 50] [--repeats 100] [--out overhead.json]

All three sample the same tiny network with the same number of steps, alternating on one thread in one run.
Overhead is the processor time of a loop minus that of its network calls, divided by the steps. Time taken by
other processes does not count, nor does the preparation of a loop (noise levels, `set_timesteps`, sigmas).
Ours checks that every prediction is finite and yields a state per step; the others do neither.

k-diffusion is left out if it cannot be imported. Of its many dependencies the samplers need torchdiffeq,
torchsde and torchvision. It has neither UniPC nor flows. Its DDIM is `sample_euler`, the same steps in other
coordinates; its DDPM is `sample_euler_ancestral`, another discretization.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module, util
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any, NamedTuple

import diffusers
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.report import write_json
from core.attributes import encode_attributes
from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.samplers import ddim, ddpm, dpm_solver, euler, heun, unipc

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
    second_order: bool = False  # two network calls per step, one in the last


class Overhead(NamedTuple):
    """Overhead in microseconds per step, over the repeats."""

    best: float
    median: float


class Network(nn.Module):
    """A minimal network, so that the overhead dominates."""

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """tanh(x), of the same shape as x."""
        return torch.tanh(x)


def ours(sampler: Callable[..., Any], denoiser: Denoiser, steps: int, **settings: Any) -> Loop:
    """A loop over one of our samplers."""
    states = sampler(denoiser, torch.randn(SHAPE), CONDITION, steps=steps, **settings)

    def loop() -> None:
        for _ in states:
            pass

    return loop


def diffusers_loop(network: Network, name: str, settings: dict[str, Any], steps: int, **step: Any) -> Loop:
    """A loop around a diffusers scheduler, as in diffusers' documentation."""
    scheduler = getattr(diffusers, name)(**settings)
    scheduler.set_timesteps(steps)
    start = torch.randn(SHAPE) * getattr(scheduler, "init_noise_sigma", 1.0)
    scaled = hasattr(scheduler, "scale_model_input")

    @torch.no_grad()
    def loop() -> None:
        x = start
        for t in scheduler.timesteps:
            output = network(scheduler.scale_model_input(x, t) if scaled else x, t.expand(len(x)), CONDITION)
            x = scheduler.step(output, t, x, **step).prev_sample

    return loop


def k_diffusion_samplers() -> ModuleType | None:
    """`k_diffusion` with its samplers only, because the full import needs the dependencies of training.

    None if it cannot be imported.
    """
    spec = util.find_spec("k_diffusion")
    if spec is None:
        return None
    package = ModuleType("k_diffusion")
    package.__path__ = list(spec.submodule_search_locations or [])
    sys.modules["k_diffusion"] = package
    try:
        for module in ("sampling", "external"):
            import_module(f"k_diffusion.{module}")
    except (ImportError, RuntimeError):
        return None
    return package


def k_diffusion_loop(package: ModuleType, network: Network, name: str, steps: int) -> Loop:
    """A loop of a k-diffusion sampler, with its wrapper for v-prediction at discrete timesteps."""
    abar = SCHEDULE.alpha(torch.arange(SCHEDULE.timesteps)).float() ** 2
    model = package.external.DiscreteVDDPMDenoiser(network, abar, quantize=True)
    sigmas = model.get_sigmas(steps)
    start = torch.randn(SHAPE) * sigmas[0]
    extra_args = {"condition": CONDITION}
    sampler = getattr(package.sampling, name)
    return lambda: sampler(model, start, sigmas, extra_args=extra_args, disable=True)


def cases(package: ModuleType | None) -> dict[str, Case]:
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
        ),
        "DDPM": Case(
            partial(ours, ddpm, denoiser, **seeds),
            partial(theirs, "DDPMScheduler", {**SETTINGS, "clip_sample": False}, **seed),
            k and partial(k, "sample_euler_ancestral"),
        ),
        "DPM-Solver++(2M)": Case(
            partial(ours, dpm_solver, denoiser),
            partial(theirs, "DPMSolverMultistepScheduler", SETTINGS),
            k and partial(k, "sample_dpmpp_2m"),
        ),
        "UniPC": Case(partial(ours, unipc, denoiser), partial(theirs, "UniPCMultistepScheduler", SETTINGS)),
        "Heun": Case(
            partial(ours, heun, denoiser),
            partial(theirs, "HeunDiscreteScheduler", SETTINGS),
            k and partial(k, "sample_heun"),
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


def seconds(loop: Loop) -> float:
    """Processor time of a loop in this thread; other processes do not count."""
    start = time.thread_time()
    loop()
    return time.thread_time() - start


def measure(case: Case, steps: int, repeats: int) -> dict[str, Overhead]:
    """Overhead of each library: best and median over the repeats, each minus that of the network alone."""
    calls = 2 * steps - 1 if case.second_order else steps
    loops: dict[str, Prepare] = {
        "network": lambda _: network_calls(calls),
        "ours": case.ours,
        "diffusers": case.diffusers,
    }
    if case.k_diffusion:
        loops["k_diffusion"] = case.k_diffusion
    times: dict[str, list[float]] = {name: [] for name in loops}
    gc.disable()
    for _ in range(repeats):
        for name, prepare in loops.items():
            loop = prepare(steps)
            times[name].append(seconds(loop) / steps * 1e6)
    gc.enable()
    network = times.pop("network")
    return {
        name: Overhead(min(total) - min(network), median(total) - median(network))
        for name, total in times.items()
    }


def table(measured: dict[str, dict[str, Overhead]]) -> Table:
    """Overheads as a table: one row per sampler, one column per library."""
    rows = Table(title="Overhead in microseconds per step, best (median)")
    rows.add_column("sampler")
    for library in Case._fields[:3]:
        rows.add_column(library, justify="right")
    for name, by_library in measured.items():
        cells = [
            f"{overhead.best:.1f} ({overhead.median:.1f})" if (overhead := by_library.get(library)) else "-"
            for library in Case._fields[:3]
        ]
        rows.add_row(name, *cells)
    return rows


def main() -> None:
    """Measures all samplers and prints their overheads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if (package := k_diffusion_samplers()) is None:
        print("k-diffusion is left out: it, or a dependency of its samplers, is not installed.")
    measured = {
        name: measure(case, arguments.steps, arguments.repeats) for name, case in cases(package).items()
    }
    Console().print(table(measured))
    if arguments.out:
        figures = {name: {k: v._asdict() for k, v in row.items()} for name, row in measured.items()}
        write_json(arguments.out, {"steps": arguments.steps, "microseconds a step": figures})


if __name__ == "__main__":
    main()
