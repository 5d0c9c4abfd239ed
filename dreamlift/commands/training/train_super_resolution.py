"""`dreamlift train super-resolution`: trains the super-resolution model and writes it."""

from pathlib import Path
from typing import Annotated

import typer

from dreamlift.commands.training import run_folder
from dreamlift.commands.training.train import Data, Minutes, PresetName, Resume, Run, Steps


def train_super_resolution_command(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Output folder: config.json, model.safetensors.")],
    model: Annotated[Path, typer.Option(help="Folder of the image model whose pictures are enlarged.")],
    init: Annotated[
        Path | None, typer.Option(help="Initial weights: the folder of a super-resolution model.")
    ] = None,
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
) -> None:
    """Trains the super-resolution model on large images and writes it.

    The first call prepares what the image model draws at low resolution, and stores it beside the shards.
    """
    import torch

    from core.io.atomic import writable_folder
    from core.io.weights import load_weights
    from core.models.super_resolution import SuperResolution
    from core.training import checkpoint
    from core.training.adversary import Adversary
    from core.training.config import Budget
    from core.training.processes import make_accelerator
    from core.training.tasks.super_resolution import (
        ImagePairs,
        SuperResolutionPreset,
        SuperResolutionTask,
        prepare_inputs,
    )
    from core.training.trainer import Trainer

    budget = Budget(steps, minutes)
    writable_folder(out)
    settings = run_folder.load_training_preset(
        run, "super-resolution", preset, SuperResolutionPreset, resume, default="super-resolution"
    )
    accelerator = make_accelerator()
    with accelerator.main_process_first():
        label = prepare_inputs(data, run_folder.image_model(model), settings.model.low_size)
    pairs = ImagePairs(data, label)
    torch.manual_seed(settings.training.seed)
    denoiser = settings.model.denoiser()
    if init and not checkpoint.exists(run):
        load_weights(denoiser.network, SuperResolution.load(init).denoiser.network.state_dict(), init)
    last_layer = denoiser.network.last_layer  # pyright: ignore[reportAttributeAccessIssue]
    adversary = settings.adversary and Adversary(settings.adversary, last_layer, accelerator)  # pyright: ignore
    task = SuperResolutionTask(pairs, settings, adversary)
    trainer = Trainer(denoiser, task, settings.training, run, accelerator, auxiliary=adversary)
    finished = trainer.run(budget)
    run_folder.print_outcome(finished, run)
    if finished and accelerator.is_main_process:
        finished_denoiser = settings.model.denoiser()
        load_weights(finished_denoiser.network, checkpoint.read_ema(run), run)
        notes = {"images": len(task), "held_back": settings.held_back}
        samples = trainer.step * settings.training.batch_size
        model_out = SuperResolution(settings.model, finished_denoiser)
        model_out.save(out, {**notes, "samples": samples, "seconds": round(trainer.seconds)})
        print(f"{out}: the super-resolution model of {run}")
