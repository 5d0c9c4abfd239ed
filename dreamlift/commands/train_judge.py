"""`dreamlift train judge`: imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer


def train_judge_command(
    data: Annotated[
        Path, typer.Option(help="Folder of prepared shards of all three kinds, of a seed of their own.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the judge: config.json, model.safetensors.")],
    steps: Annotated[
        int, typer.Option(help="Train so many steps of images, and half as many of clips.")
    ] = 8000,
    minutes: Annotated[
        float | None, typer.Option(help="Train so long; with --steps, the first to come.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
    init: Annotated[
        Path | None,
        typer.Option(help="A judge that keeps what it knows of images; only its motion head learns anew."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
) -> None:
    """Trains the judge of `dreamlift evaluate` and prints its accuracy on renders kept from training."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from core.io.atomic import writable_folder
    from core.io.machine import describe_device, pick_device
    from core.training.trainer import Budget
    from dreamlift.evaluation.judge import Judge
    from dreamlift.evaluation.judge_training import JudgeShards, train_judge

    budget = Budget(steps, minutes)
    chosen = pick_device(device)
    known = Judge.load(init, chosen) if init else None
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

        judge, right = train_judge(
            images, textureless, clips, budget, seed=seed, on_progress=show, known=known
        )
    notes = {
        "images": images.trained,
        "textureless": textureless.trained,
        "clips": clips.trained,
        "steps": steps,
        "minutes": minutes,
        "seed": seed,
        "device": describe_device(chosen),
        "accuracy": {name: round(share, 4) for name, share in right.items()},
    }
    judge.save(out, notes)
    print(f"{out}: " + ", ".join(f"{name} {share:.1%}" for name, share in right.items()))
