"""Clips per second by the number that is sampled together, and what the number changes in the pictures.

    python -m benchmarks.batches [--sizes 1 2 4 8] [--steps 2] [--rounds 3] [--device cpu] [--out FILE]

In every round each number draws the same clips of the bundled model, without super-resolution; its time is
compared with that of one by one in the same round, so that other load counts for both. Seconds are processor
time on a CPU, wall time elsewhere.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.report import write_json
from core.bundled import BUNDLED
from core.io.machine import describe_device
from core.toybox.prompts import read_prompt
from video.video_model import VideoModel

PROMPTS = ("a panda on a swing", "a fox waving", "a robot dancing", "a corgi wearing a beret")


def drawing(model: VideoModel, count: int, steps: int) -> Callable[[int], Tensor]:
    """Draws `count` clips, so many at a time: (count,3,16,64,64)."""
    prompts = [read_prompt(PROMPTS[seed % len(PROMPTS)], seed).text for seed in range(count)]
    camera = torch.arange(count) * 30.0

    def draw(size: int) -> Tensor:
        parts = [slice(start, min(start + size, count)) for start in range(0, count, size)]
        clips = [
            model.sample(
                prompts[part],
                steps=steps,
                sampler="dpm-solver++",
                seeds=range(count)[part],
                azimuth=camera[part],
                elevation=13.0,
            )
            for part in parts
        ]
        return torch.cat(clips).cpu()

    return draw


def measure(draw: Callable[[int], Tensor], sizes: Sequence[int], rounds: int, on_cpu: bool) -> dict[str, Any]:
    """Of each number: seconds per clip, their ratio to one by one, and the difference of the pictures."""
    clock = time.process_time if on_cpu else time.perf_counter
    reference = draw(1)  # which also includes start-up costs
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    clips: dict[int, Tensor] = {}
    for _ in range(rounds):
        for size in sizes:
            began = clock()
            clips[size] = draw(size)
            seconds[size].append(clock() - began)
    return {
        str(size): {
            "seconds": median(seconds[size]) / len(reference),
            "ratio": median(ours / alone for ours, alone in zip(seconds[size], seconds[1], strict=True)),
            "ratios": [ours / alone for ours, alone in zip(seconds[size], seconds[1], strict=True)],
            "difference": (clips[size] - reference).abs().max().item(),
            "changed": (levels(clips[size]) != levels(reference)).float().mean().item(),
        }
        for size in sizes
    }


def levels(clips: Tensor) -> Tensor:
    """8-bit values of clips in [-1, 1]."""
    return ((clips.clamp(-1, 1) + 1) * 127.5).round()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8], help="with 1, the reference")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    model = VideoModel.load(BUNDLED / "video", device)
    draw = drawing(model, max(options.sizes), options.steps)
    figures = measure(draw, options.sizes, options.rounds, device.type == "cpu")
    table = Table("together", "s per clip", "of one by one", "largest difference", "8-bit values changed")
    for size, row in figures.items():
        spread = f"{min(row['ratios']):.2f}-{max(row['ratios']):.2f}"
        table.add_row(
            size,
            f"{row['seconds']:.2f}",
            f"{row['ratio']:.2f} ({spread})",
            f"{row['difference']:.1e}",
            f"{row['changed']:.1e}",
        )
    Console().print(table)
    if options.out:
        write_json(options.out, {"device": describe_device(device), "steps": options.steps, **figures})


if __name__ == "__main__":
    main()
