"""What fewer steps cost: judged accuracy and seconds of the bundled models by sampler and steps.

    python -m benchmarks.sampler_quality [--images 200] [--clips 32] [--swings 12] [--out samplers.json]

Every row samples the same prompts with the same seeds, in one run. A judge trained on renders (see
docs/training.md) reads the samples. Half of the images are of pairs of subject and action that no model was
trained on. Seconds are processor time of the sampling, decoding included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.report import write_json
from core.bundled import BUNDLED
from core.models.image_model import ImageModel
from core.toybox.dataset import FRAMES
from dreamlift.evaluation.judge import Judge
from dreamlift.evaluation.prompt_set import ELEVATION, PromptSet, judge_clips, judge_images, quantize_8bit
from dreamlift.evaluation.video_metrics import horizontal_position, sine_fit, unsteadiness
from video.video_model import VideoModel

IMAGE_SETTINGS = [
    ("ddim", 40),
    ("ddim", 20),
    ("dpm-solver++", 20),
    ("dpm-solver++", 12),
    ("dpm-solver++", 8),
    ("unipc", 12),
]
CLIP_SETTINGS = [("ddim", 40), ("ddim", 20), ("dpm-solver++", 20), ("dpm-solver++", 12)]
GUIDANCE = 2.0  # of the presets
BATCH = {"images": 8, "clips": 1}
SEED = 11  # not that of `dreamlift evaluate`


def accuracy(truth: torch.Tensor, found: torch.Tensor) -> float:
    """Share of right labels, where there is a true one."""
    known = truth >= 0
    return (truth == found)[known].double().mean().item()


def sampled(
    sample: Callable[..., torch.Tensor], prompts: PromptSet, batch: int, sampler: str, steps: int
) -> tuple[torch.Tensor, float]:
    """All samples of a prompt set, and the processor seconds that they took."""
    parts, began = [], time.process_time()
    for rows in prompts.batches(batch):
        part = sample(
            prompts.prompts[rows],
            steps=steps,
            sampler=sampler,
            guidance=GUIDANCE,
            seeds=prompts.seeds[rows],
            azimuth=prompts.azimuth[rows],
            elevation=ELEVATION,
            phase=prompts.phase[rows],
            shadow=True,
        )
        parts.append(quantize_8bit(part))
    return torch.cat(parts), time.process_time() - began


def image_row(model: ImageModel, judge: Judge, count: int, sampler: str, steps: int) -> dict[str, float]:
    """Judged accuracy of images of trained and of held-out pairs together, and seconds per image."""
    sets = [PromptSet.draw(count // 2, held, SEED) for held in (False, True)]
    found, seconds = zip(
        *(sampled(model.sample, s, BATCH["images"], sampler, steps) for s in sets), strict=True
    )
    labels = [judge_images(judge, images) for images in found]
    truth = [each.true_labels() for each in sets]
    row = {
        name: accuracy(torch.cat([t[name] for t in truth]), torch.cat([label[name] for label in labels]))
        for name in truth[0]
    }
    return row | {"seconds per image": sum(seconds) / count}


def clip_row(
    model: VideoModel, judge: Judge, count: int, swings: int, sampler: str, steps: int
) -> dict[str, float]:
    """Judged accuracy by motion and frames, unsteadiness, and how well swings swing; seconds per clip."""
    sample = partial(model.sample, frames=FRAMES)
    prompts = PromptSet.draw(count, False, SEED)
    clips, seconds = sampled(sample, prompts, BATCH["clips"], sampler, steps)
    labels, truth = judge_clips(judge, clips), prompts.true_labels()
    swinging, _ = sampled(sample, PromptSet.draw(swings, False, SEED, swings=True), 1, sampler, steps)
    fit = sine_fit(horizontal_position(swinging))
    return {
        "subject": accuracy(truth["subject"], labels["subject"]),
        "action by motion": accuracy(truth["action"], labels["motion"]),
        "unsteadiness, of 255": unsteadiness(clips).mean().item(),
        "swings: R^2": fit.r2.mean().item(),
        "swings: amplitude": fit.amplitude.mean().item(),
        "seconds per clip": seconds / count,
    }


def main() -> None:
    """Prints both tables and writes them as JSON."""
    parser = argparse.ArgumentParser(description="Judged accuracy and seconds by sampler and steps.")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--swings", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("samplers.json"))
    options = parser.parse_args()
    judge = Judge.load(BUNDLED / "judge")
    image_model, video_model = ImageModel.load(BUNDLED / "image"), VideoModel.load(BUNDLED / "video")
    tables: dict[str, dict[str, dict[str, float]]] = {"images": {}, "clips": {}}
    for sampler, steps in IMAGE_SETTINGS:
        row = image_row(image_model, judge, options.images, sampler, steps)
        tables["images"][f"{sampler}, {steps} steps"] = row
        write_json(options.out, tables)
    for sampler, steps in CLIP_SETTINGS if options.clips else []:
        row = clip_row(video_model, judge, options.clips, options.swings, sampler, steps)
        tables["clips"][f"{sampler}, {steps} steps"] = row
        write_json(options.out, tables)
    for title, rows in tables.items():
        if rows:
            _print(title, rows)


def _print(title: str, rows: dict[str, dict[str, float]]) -> None:
    table = Table(title=title)
    columns = list(next(iter(rows.values())))
    for column in ("sampler", *columns):
        table.add_column(column)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:.3f}" for column in columns))
    Console().print(table)


if __name__ == "__main__":
    main()
