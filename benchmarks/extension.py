"""Clips of four windows by the bundled model: reconstruction guidance against replacement.

    python -m benchmarks.extension [--seeds 2] [--steps 12] [--overlaps 4 6 8] [--scales 0 1 3 6]

Ho et al. 2022, "Video Diffusion Models", section 4, compare the two on clips of four windows. Scale 0 is the
replacement method. Every row samples the same prompts with the same seeds. `seam` is the frame difference
where windows meet over the one near it, `drift` the difference between the first loop of the motion and the
last, of 255.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.report import write_json
from core.bundled import BUNDLED
from dreamlift.evaluation.video_metrics import drift, seam, unsteadiness
from video.nn.windows import window_starts
from video.video_model import VideoModel

PROMPTS = (
    "a panda on a red swing on a light blue background",
    "a robot dancing on a yellow background",
    "a fox waving on a green background",
    "a penguin jumping on a pink background",
)
WINDOWS = 4


def measure(model: VideoModel, overlap: int, scale: float, seeds: int, steps: int) -> dict[str, float]:
    """Means over all prompts and seeds."""
    size, loop = model.config.window, model.config.loop
    frames = size + (WINDOWS - 1) * (size - overlap)
    borders = [start + overlap for start in window_starts(frames, size, overlap)[1:]]
    rows: list[list[float]] = []
    for prompt in PROMPTS:
        for seed in range(seeds):
            began = time.process_time()
            clip = model.sample(
                [prompt],
                frames=frames,
                steps=steps,
                guidance=2.0,
                seeds=[seed],
                sampler="dpm-solver++",
                azimuth=30.0,
                elevation=13.0,
                extension_scale=scale,
                overlap=overlap,
            )
            seconds = time.process_time() - began
            measures = (seam(clip, borders), drift(clip, loop), unsteadiness(clip))
            rows.append([*(each.item() for each in measures), seconds / frames])
    means = torch.tensor(rows).mean(0).tolist()
    names = ("seam", "drift, of 255", "unsteadiness, of 255", "seconds a frame")
    return dict(zip(names, means, strict=True))


def main() -> None:
    """Prints the table and writes it as JSON."""
    parser = argparse.ArgumentParser(description="Reconstruction guidance against replacement.")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--overlaps", type=int, nargs="+", default=[4, 6, 8])
    parser.add_argument("--scales", type=float, nargs="+", default=[0, 1, 3, 6])
    parser.add_argument("--out", type=Path, default=Path("extension.json"))
    options = parser.parse_args()
    model = VideoModel.load(BUNDLED / "video")
    rows: dict[str, dict[str, float]] = {}
    for overlap in options.overlaps:
        for scale in options.scales:
            method = f"guidance {scale:g}" if scale else "replacement"
            row = measure(model, overlap, scale, options.seeds, options.steps)
            rows[f"{method}, overlap {overlap}"] = row
            write_json(options.out, {"rows": rows})
    _print(rows)


def _print(rows: dict[str, dict[str, float]]) -> None:
    table = Table(title=f"{WINDOWS} windows")
    columns = list(next(iter(rows.values())))
    for column in ("method", *columns):
        table.add_column(column)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:.3f}" for column in columns))
    Console().print(table)


if __name__ == "__main__":
    main()
