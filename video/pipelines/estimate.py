"""Estimated memory and time of a clip, computed before any weight is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.errors import UserError
from core.io.machine import free_memory, matmul_rate
from core.io.resources import gib
from core.pretrained.weights import parameter_count, weight_files
from video.animatediff.motion_format import motion_files
from video.options import ClipOptions, flag
from video.pipelines.acceleration import NETWORKS
from video.pipelines.cost import Cost
from video.pipelines.families import Family
from video.pipelines.load import exact_parts, precision
from video.pipelines.profiled_calls import profile_decoding, profile_denoising
from video.record import ExpectedCost

EFFICIENCY = 0.5  # share of the matmul rate that networks reach


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of one clip. Sizes are in bytes."""

    weights: dict[str, int]  # part of the pipeline -> size of its weights
    sampling: Cost  # cost of all denoising steps together
    decoding: Cost

    def device_memory(self, offload: str | None) -> int:
        """Peak memory on the device, bytes, for an offload mode (None, "model", "group" or "layers")."""
        weights, working = self.weights, max(self.sampling.memory, self.decoding.memory)
        match offload:
            case "model":  # one part at a time
                decoder = weights.get("vae", 0)
                others = max(size for part, size in weights.items() if part != "vae")
                return max(others + self.sampling.memory, decoder + self.decoding.memory)
            case "group":  # but the autoencoder
                return weights.get("vae", 0) + working
            case "layers":
                return working
            case _:
                return sum(weights.values()) + working

    def seconds(self, device: torch.device, dtype: torch.dtype) -> float:
        """Estimated time in seconds, at `EFFICIENCY` of the matmul rate measured on the device."""
        rate = matmul_rate(device, seconds=0.3, dtype=dtype) * 1e9
        return (self.sampling.flop + self.decoding.flop) / (rate * EFFICIENCY)


def estimate_cost(folder: Path, family: Family, options: ClipOptions, device: torch.device) -> Estimate:
    """Estimate from the headers of the weight files and a run of the networks on fake tensors."""
    dtype, exact = precision(options, device), exact_parts(family)
    files = weight_files(folder)
    if options.motion:
        files["motion"] = motion_files(options.motion)
    stored = exact | (dict.fromkeys(NETWORKS, torch.int8) if options.storage else {})  # or float8
    weights = {
        part: sum(parameter_count(file) for file in paths) * stored.get(part, dtype).itemsize
        for part, paths in files.items()
    }
    return Estimate(
        weights,
        profile_denoising(folder, family, options, dtype),
        profile_decoding(folder, family, options, exact.get("vae", dtype)),
    )


def check_memory(folder: Path, family: Family, options: ClipOptions, device: torch.device) -> ExpectedCost:
    """Expected memory and time of a clip.

    Raises UserError, with the first change of the options that fits, when the estimate exceeds the free
    memory of the device, or of the CPU with --offload.
    """
    estimate = estimate_cost(folder, family, options, device)
    free = free_memory(device)
    needed = estimate.device_memory(options.offload)
    if needed > free:
        raise UserError(
            f"This clip needs {gib(needed)} with {family.title}, {gib(free)} are free on {device}: give "
            f"{_advice(folder, family, options, device, free)}, or --force to run anyway."
        )
    if options.offload:
        size, ram = sum(estimate.weights.values()), free_memory(torch.device("cpu"))
        if size > ram:
            raise UserError(
                f"With --offload the weights of {family.title} stay in CPU memory: they need {gib(size)}, "
                f"{gib(ram)} are free. Free some memory, or give --force to run anyway."
            )
    return ExpectedCost(memory=needed, seconds=estimate.seconds(device, precision(options, device)))


def _advice(folder: Path, family: Family, options: ClipOptions, device: torch.device, free: int) -> str:
    """The first change of the options with which the clip fits, as command-line options."""
    for change in _changes(options, device):
        changed = options.with_changes(**change)
        needed = estimate_cost(folder, family, changed, device).device_memory(changed.offload)
        if needed <= free:
            flags = " ".join(flag(k) if v is True else f"{flag(k)} {v}" for k, v in change.items())
            return f"{flags} ({gib(needed)})"
    return "fewer --frames or a smaller --width and --height"


def _changes(options: ClipOptions, device: torch.device) -> Iterator[dict[str, Any]]:
    """Changes of the options that need less memory, the cheapest in quality and time first."""
    single = precision(options, device) == torch.float32
    half: dict[str, Any] = {"dtype": "bfloat16"} if single else {}
    tiling: dict[str, Any] = {} if options.tiling else {"tiling": True}
    offloads: list[dict[str, Any]] = [{}]
    if device.type != "cpu":
        offloads += [{"offload": "model"}, {"offload": "layers"}]
    for offload in offloads:
        for change in (offload, tiling | offload, half | offload, half | tiling | offload):
            if change:
                yield change
