"""`dreamlift train eyes`: trains the detector of eyes of `dreamlift evaluate`. Heavy imports come late."""

from pathlib import Path
from typing import Annotated

import typer


def train_eyes_command(
    out: Annotated[Path, typer.Option(help="Output folder: config.json, model.safetensors.")],
    renders: Annotated[int, typer.Option(help="Number of renders to train on.", min=64, max=200_000)] = 8192,
    steps: Annotated[int, typer.Option(help="Training steps of 64 renders.")] = 8000,
    minutes: Annotated[
        float | None,
        typer.Option(help="Training time in minutes; with --steps, whichever limit is reached first."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of renders, weights and batches.", min=0)] = 1000,
) -> None:
    """Trains the detector of eyes on renders that it makes itself, and prints what it finds on others."""
    import time

    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from core.io.atomic import writable_folder
    from core.io.values import check_seed
    from core.training.config import Budget
    from dreamlift.evaluation.faces.detector import EyeDetectorConfig
    from dreamlift.evaluation.faces.training import (
        HELD_BACK,
        HELD_BACK_SEED,
        detector_accuracy,
        render_faces,
        train_detector,
    )

    budget = Budget(steps, minutes)
    check_seed(seed)
    writable_folder(out)
    config = EyeDetectorConfig()
    started = time.monotonic()
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        first, second = (progress.add_task(name, total=1.0, start=False) for name in ("renders", "training"))
        progress.start_task(first)
        images, eyes = render_faces(
            renders, seed, config.size, lambda done: progress.update(first, completed=done)
        )
        progress.start_task(second)
        detector = train_detector(
            images, eyes, budget, config, seed, lambda done: progress.update(second, completed=done)
        )
    seconds = round(time.monotonic() - started)
    held_back = min(HELD_BACK, renders // 4)
    accuracy = {
        f"{size} pixels": detector_accuracy(detector, *render_faces(held_back, HELD_BACK_SEED, size))
        for size in (256, 64)
    }
    rounded = {
        size: {name: round(value, 4) for name, value in values.items()} for size, values in accuracy.items()
    }
    notes = {"renders": len(images), "steps": steps, "minutes": minutes, "seed": seed, "seconds": seconds}
    detector.save(out, {**notes, "accuracy": rounded})
    for size, values in accuracy.items():
        print(f"{out}, {size}: " + ", ".join(f"{name} {value:.1%}" for name, value in values.items()))
