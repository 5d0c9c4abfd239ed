"""`dreamlift train judge`: trains the classifier of `dreamlift evaluate`. Heavy imports wait for a run."""

from pathlib import Path
from typing import Annotated

import typer


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
    known = Judge.load(init, chosen) if init else None
    if known and size not in (None, known.config.size):
        raise UserError(f"--size cannot be {size}: the judge of --init has {known.config.size} pixels.")
    writable_folder(out)
    images, textureless, clips = (
        JudgeShards(data, kind, chosen) for kind in ("images", "textureless", "clips")
    )
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
