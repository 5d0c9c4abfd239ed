"""`dreamlift train judge` and `train eyes`: what `dreamlift evaluate` measures with."""

from pathlib import Path
from typing import Annotated

import typer

from dreamlift.commands.training import run_data

KINDS = ("images", "textureless", "clips")  # of shards that the judge learns from


def train_judge_command(
    data: Annotated[
        Path,
        typer.Option(
            help="Folder of prepared images, textureless images and clips, of a seed not used for the models."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Output folder: config.json, model.safetensors.")],
    steps: Annotated[
        int, typer.Option(help="Training steps on images; half as many follow on clips.")
    ] = 8000,
    minutes: Annotated[
        float | None,
        typer.Option(help="Training time in minutes; with --steps, whichever limit is reached first."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Pixels of the pictures that are judged: 64 or 256. Shards must be that large.",
            show_default="64, or that of --init",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of weights and batches.")] = 0,
    init: Annotated[
        Path | None,
        typer.Option(help="A judge whose image heads are reused; only the motion head is trained."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
) -> None:
    """Trains the judge of `dreamlift evaluate` and prints its accuracy on held-back renders."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from core.errors import UserError
    from core.io.atomic import writable_folder
    from core.io.machine import describe_device, pick_device
    from core.io.values import check_seed
    from core.training.config import Budget
    from dreamlift.evaluation.judge import CONFIGS, Judge
    from dreamlift.evaluation.judge_training import JudgeShards, train_judge

    budget = Budget(steps, minutes)
    check_seed(seed)
    if size is not None and size not in CONFIGS:
        raise UserError(f"--size cannot be {size}: give {' or '.join(map(str, CONFIGS))}.")
    chosen = pick_device(device)
    run_data.check_shards(data, KINDS)
    known = Judge.load(init, chosen) if init else None
    if known and size not in (None, known.config.size):
        raise UserError(f"--size cannot be {size}: the judge of --init has {known.config.size} pixels.")
    writable_folder(out)
    images, textureless, clips = (JudgeShards(data, kind, chosen) for kind in KINDS)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        bars = {
            part: progress.add_task(part, total=1.0, start=False)
            for part in ("images", "features of clips", "clips")
            if part != "images" or not known
        }

        def show(part: str, done: float) -> None:
            if not progress.tasks[bars[part]].started:
                progress.start_task(bars[part])
            progress.update(bars[part], completed=done)

        judge, accuracy = train_judge(
            images, textureless, clips, budget, CONFIGS[size or 64], seed, show, known
        )
    notes = {
        "images": images.trained,
        "textureless": textureless.trained,
        "clips": clips.trained,
        "steps": steps,
        "minutes": minutes,
        "seed": seed,
        "device": describe_device(chosen),
        "accuracy": {name: round(share, 4) for name, share in accuracy.items()},
    }
    judge.save(out, notes)
    print(f"{out}: " + ", ".join(f"{name} {share:.1%}" for name, share in accuracy.items()))


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
