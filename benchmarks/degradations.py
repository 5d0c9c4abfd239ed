"""Whether the measures of `dreamlift evaluate` notice what is wrong: renders, degraded on purpose.

    python -m benchmarks.degradations [--clips 24] [--images 400] [--size 256] [--judge DIR] [--eyes DIR]

Every column degrades the same pictures of the toybox in one way: clips, and for the Frechet distance of
images, which needs more scenes, single images. Each degradation must worsen the measures that
`MUST_WORSEN` names; the command exits with code 1 when one does not. Without a detector of eyes, eyes are not
looked for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.report import write_json
from core.bundled import BUNDLED
from core.toybox.eyes import Eyes
from dreamlift.evaluation.distribution_metrics import frechet_distance
from dreamlift.evaluation.evaluate_samples import bundled_judge
from dreamlift.evaluation.faces.detector import EyeDetector
from dreamlift.evaluation.faces.training import paint_over
from dreamlift.evaluation.judge import Judge
from dreamlift.evaluation.measuring import (
    CLIP_MEASURES,
    EYES,
    IMAGE_MEASURES,
    EvaluationResult,
    Instruments,
    at_size,
    reference_features,
)
from dreamlift.evaluation.prompt_set import PromptSet

SEED = 12  # not that of `dreamlift evaluate`
NOISE = 0.04  # deviation, in [-1, 1]
BATCH = 2  # clips measured at once
RENDERS = "renders"  # the row without degradation
SUBJECT, MOTION = "subject", "action, by motion alone"
FALLING = {SUBJECT, MOTION, EYES, "motion inside"}  # measures that are worse when they are lower

Degradation = Callable[[Tensor, Eyes], Tensor]  # clips (B,3,F,H,W) in [-1, 1], eyes of all frames -> clips


def blurred(clips: Tensor, eyes: Eyes) -> Tensor:
    """Every frame convolved with a Gaussian of a hundred-and-twentieth of the side."""
    deviation = clips.shape[-1] / 120
    reach = int(3 * deviation) + 1
    kernel = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * deviation**2))
    kernel = kernel / kernel.sum()
    flat = clips.transpose(1, 2).flatten(0, 2)[:, None]
    flat = F.conv2d(F.pad(flat, (reach,) * 4, mode="replicate"), kernel[None, None, None])
    flat = F.conv2d(flat, kernel[None, None, :, None])
    return flat.reshape(len(clips), -1, 3, *clips.shape[-2:]).transpose(1, 2)


def enlarged(clips: Tensor, eyes: Eyes) -> Tensor:
    """Every frame reduced to a quarter of its side and enlarged bicubically."""
    return at_size(at_size(clips, clips.shape[-1] // 4), clips.shape[-1])


def noisy(clips: Tensor, eyes: Eyes) -> Tensor:
    """Independent noise in every pixel and frame."""
    noise = torch.randn(clips.shape, generator=torch.Generator().manual_seed(0))
    return (clips + NOISE * noise).clamp(-1, 1)


def shuffled(clips: Tensor, eyes: Eyes) -> Tensor:
    """The frames of all clips in one random order."""
    return clips[:, :, torch.randperm(clips.shape[2], generator=torch.Generator().manual_seed(0))]


def frozen(clips: Tensor, eyes: Eyes) -> Tensor:
    """The first frame in place of all."""
    return clips[:, :, :1].expand_as(clips)


def one_eye_painted(clips: Tensor, eyes: Eyes) -> Tensor:
    """The figure's left eye painted over in the color around it, in every frame."""
    frames = clips.transpose(1, 2).flatten(0, 1)
    if eyes.visible.shape[1]:
        seen = eyes.visible[:, 0]
        frames = frames.clone()
        frames[seen] = paint_over(frames[seen], eyes.position[seen, 0], eyes.radius[seen, 0])
    return frames.unflatten(0, (len(clips), -1)).transpose(1, 2)


DEGRADATIONS: dict[str, Degradation] = {
    "blurred": blurred,
    "enlarged from a quarter": enlarged,
    "noise": noisy,
    "shuffled frames": shuffled,
    "frozen frames": frozen,
    "one eye painted over": one_eye_painted,
}
MUST_WORSEN: dict[str, tuple[str, ...]] = {
    "blurred": ("edge width", "Frechet distance, content", "Frechet distance, detail"),
    "enlarged from a quarter": ("edge width", "Frechet distance, content", "Frechet distance, detail"),
    "noise": (
        *("noise", "flicker outside the figure", "unsteadiness", "flicker after motion compensation"),
        "Frechet distance, detail",
    ),
    "shuffled frames": (
        *("unsteadiness", "flicker after motion compensation", MOTION, "Frechet distance, motion"),
    ),
    "frozen frames": ("motion inside", MOTION, "Frechet distance, motion"),
    "one eye painted over": (EYES,),
}


def summary(result: EvaluationResult, truth: dict[str, Tensor], reference: Tensor) -> dict[str, float]:
    """Means of all measures, accuracies, and Frechet distance from the reference features of motion."""
    names = [*IMAGE_MEASURES, *CLIP_MEASURES, *([EYES] if EYES in result.measures else [])]
    means = {name: result.measures[name].nanmean().item() for name in names}
    right = {SUBJECT: result.labels["subject"] == truth["subject"]}
    right[MOTION] = result.labels["motion"] == truth["action"]
    shares = {name: hits.float().mean().item() for name, hits in right.items()}
    distance = frechet_distance(result.features["motion"], reference)
    return means | shares | {"Frechet distance, motion": distance}


def not_noticed(table: dict[str, dict[str, float]]) -> list[str]:
    """The expectations of `MUST_WORSEN` that do not hold; rows of measures that are missing do not count."""
    true = table[RENDERS]

    def worse(row: str, name: str) -> bool:
        difference = table[row][name] - true[name]
        return difference < 0 if name in FALLING else difference > 0

    return [
        f"{row}: {name}"
        for row, names in MUST_WORSEN.items()
        for name in names
        if name in true and not worse(row, name)
    ]


def image_distances(instruments: Instruments, images: int, size: int) -> dict[str, dict[str, float]]:
    """Frechet distances of renders, and of renders in each degradation, from as many other renders."""
    prompt_set, others = (PromptSet.draw(images, False, SEED + number) for number in (0, 1))
    features: dict[str, list[dict[str, Tensor]]] = {RENDERS: [], **{name: [] for name in DEGRADATIONS}}
    for rows in prompt_set.batches(16 * BATCH):
        renders, eyes = prompt_set.render(rows, size)
        features[RENDERS].append(instruments.features(renders))
        for name, degrade in DEGRADATIONS.items():
            degraded = degrade(renders[:, :, None], eyes)[:, :, 0]
            features[name].append(instruments.features(degraded))
    reference = reference_features(others, instruments, 16 * BATCH, size, clips=False)
    return {
        row: {
            f"Frechet distance, {name}": frechet_distance(torch.cat([part[name] for part in parts]), true)
            for name, true in reference.items()
        }
        for row, parts in features.items()
    }


def run(instruments: Instruments, clips: int, images: int, size: int) -> dict[str, dict[str, float]]:
    """The summary of the renders and of each degradation, by name."""
    prompt_set, others = (PromptSet.draw(clips, False, SEED + number) for number in (0, 1))
    parts: dict[str, list[EvaluationResult]] = {RENDERS: [], **{name: [] for name in DEGRADATIONS}}
    for rows in prompt_set.batches(BATCH):
        renders, eyes = prompt_set.render(rows, size, clips=True)
        parts[RENDERS].append(instruments.measure(renders, eyes))
        for name, degrade in DEGRADATIONS.items():
            parts[name].append(instruments.measure(degrade(renders, eyes), eyes))
    truth = prompt_set.true_labels()
    reference = reference_features(others, instruments, BATCH, size, clips=True)["motion"]
    distances = image_distances(instruments, images, size)
    return {
        name: summary(EvaluationResult.cat(results, 0), truth, reference) | distances[name]
        for name, results in parts.items()
    }


def main() -> None:
    """Prints the table and writes it as JSON."""
    parser = argparse.ArgumentParser(description="Measures of renders that are degraded on purpose.")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", type=int, default=256, choices=(64, 256))
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--eyes", type=Path)
    parser.add_argument("--out", type=Path, default=Path("degradations.json"))
    options = parser.parse_args()
    eyes = options.eyes or (BUNDLED / "eyes" if (BUNDLED / "eyes").is_dir() else None)
    judge = Judge.load(options.judge or bundled_judge(options.size))
    instruments = Instruments(judge, EyeDetector.load(eyes) if eyes else None)
    table = run(instruments, options.clips, options.images, options.size)
    shown = Table(title=f"{options.clips} clips and {options.images} images of {options.size} pixels")
    for column in ("", *table):
        shown.add_column(column, justify="right" if column else "left")
    for name in table[RENDERS]:
        marks = ["*" if name in MUST_WORSEN.get(row, ()) else "" for row in table]
        values = [f"{table[row][name]:.3g}{mark}" for row, mark in zip(table, marks, strict=True)]
        shown.add_row(name, *values)
    Console(width=160).print(shown)
    missed = not_noticed(table)
    counts = {"clips": options.clips, "images": options.images, "size": options.size}
    write_json(options.out, {**counts, "table": table, "missed": missed})
    print("not noticed: " + "; ".join(missed) if missed else "every degradation worsens its measures (*)")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
