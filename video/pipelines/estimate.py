"""How much memory and time a clip will take, before any weight is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.errors import UserError
from core.io.machine import free_memory, matmul_rate
from video.options import ClipOptions, flag
from video.pipelines.cost import Cost
from video.pipelines.families import Family
from video.pipelines.load import exact_parts, precision
from video.pipelines.profiled_calls import profile_decoding, profile_denoising
from video.pipelines.weights import motion_files, parameter_count, weight_files
from video.record import ExpectedCost

EFFICIENCY = 0.5  # of the matmul rate that networks reach
GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """Of one clip. All bytes."""

    weights: dict[str, int]  # part -> its weights
    sampling: Cost  # of all steps
    decoding: Cost

    def device_memory(self, offload: str | None) -> int:
        """The most that the device holds at once."""
        weights, working = self.weights, max(self.sampling.memory, self.decoding.memory)
        match offload:
            case "model":  # one part at a time
                decoder = weights.get("vae", 0)
                others = max(size for part, size in weights.items() if part != "vae")
                return max(others + self.sampling.memory, decoder + self.decoding.memory)
            case "layers":
                return working
            case _:
                return sum(weights.values()) + working

    def seconds(self, device: torch.device, dtype: torch.dtype) -> float:
        """Of the arithmetic, at `EFFICIENCY` of the rate that is measured here."""
        rate = matmul_rate(device, seconds=0.3, dtype=dtype) * 1e9
        return (self.sampling.flop + self.decoding.flop) / (rate * EFFICIENCY)


def estimate_cost(folder: Path, family: Family, options: ClipOptions, device: torch.device) -> Estimate:
    """From the headers of the weights and a run of the networks without numbers, see `cost`."""
    dtype, exact = precision(options, device), exact_parts(family)
    files = weight_files(folder)
    if options.motion:
        files["motion"] = motion_files(options.motion)
    weights = {
        part: sum(parameter_count(file) for file in of_part) * exact.get(part, dtype).itemsize
        for part, of_part in files.items()
    }
    return Estimate(
        weights,
        profile_denoising(folder, family, options, dtype),
        profile_decoding(folder, family, options, exact.get("vae", dtype)),
    )


def check_memory(folder: Path, family: Family, options: ClipOptions, device: torch.device) -> ExpectedCost:
    """What a clip will take. Raises UserError, with advice, where the memory that is free will not do."""
    planned = estimate_cost(folder, family, options, device)
    free = free_memory(device)
    needed = planned.device_memory(options.offload)
    if needed > free:
        raise UserError(
            f"{family.title} needs about {gib(needed)} to draw this clip, and {device} has {gib(free)} free: "
            f"{_advice(folder, family, options, device, free)}, or --force to go on anyway."
        )
    if options.offload:
        held, ram = sum(planned.weights.values()), free_memory(torch.device("cpu"))
        if held > ram:
            raise UserError(
                f"The weights of {family.title} wait in the CPU's memory with --offload: they need about "
                f"{gib(held)}, and {gib(ram)} are free; --force goes on anyway."
            )
    return ExpectedCost(memory=needed, seconds=planned.seconds(device, precision(options, device)))


def _advice(folder: Path, family: Family, options: ClipOptions, device: torch.device, free: int) -> str:
    """The first change of the options with which the clip fits, in words."""
    for change in _changes(options, device):
        changed = options.with_changes(**change)
        needed = estimate_cost(folder, family, changed, device).device_memory(changed.offload)
        if needed <= free:
            said = " ".join(flag(k) if v is True else f"{flag(k)} {v}" for k, v in change.items())
            return f"it needs {gib(needed)} with {said}"
    return "give fewer --frames or a smaller --width and --height"


def _changes(options: ClipOptions, device: torch.device) -> Iterator[dict[str, Any]]:
    """Ways to need less, what costs the least first."""
    exact = precision(options, device) == torch.float32
    halved: dict[str, Any] = {"dtype": "bfloat16"} if exact else {}
    tiled: dict[str, Any] = {} if options.tiling else {"tiling": True}
    placed: list[dict[str, Any]] = [{}]
    if device.type != "cpu":
        placed += [{"offload": "model"}, {"offload": "layers"}]
    for place in placed:
        for change in (place, tiled | place, halved | place, halved | tiled | place):
            if change:
                yield change


def gib(size: float) -> str:
    """A size in words: "12.3 GiB", "0.4 GiB"."""
    return f"{size / GIB:.1f} GiB"
