"""`dreamlift train judge`: imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer


def train_judge_command(
    data: Annotated[
        Path, typer.Option(help="Folder of prepared shards, images and clips, of a seed of their own.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the judge: config.json, model.safetensors.")],
    minutes: Annotated[float, typer.Option(help="Train so long.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
) -> None:
    """Trains the judge of `dreamlift evaluate` and prints its accuracy on renders kept from training."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from core.files import writable_folder
    from core.machine import describe, pick_device
    from core.training.trainer import Budget
    from dreamlift.judge_training import LabelledShards, train_judge

    budget = Budget(minutes=minutes)
    chosen = pick_device(device)
    writable_folder(out)
    images, clips = (LabelledShards(data, kind, chosen) for kind in ("images", "clips"))
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        bars = {kind: progress.add_task(kind, total=1.0, start=False) for kind in ("images", "clips")}

        def show(kind: str, done: float) -> None:
            progress.start_task(bars[kind])
            progress.update(bars[kind], completed=done)

        judge, right = train_judge(images, clips, budget, seed=seed, on_progress=show)
    notes = {
        "images": images.trained,
        "clips": clips.trained,
        "minutes": minutes,
        "seed": seed,
        "device": describe(chosen),
        "accuracy": {name: round(share, 4) for name, share in right.items()},
    }
    judge.save(out, notes)
    print(f"{out}: " + ", ".join(f"{name} {share:.1%}" for name, share in right.items()))
