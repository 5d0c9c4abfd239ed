"""`dreamlift train interpolation`: trains temporal super-resolution and writes it."""

from pathlib import Path
from typing import Annotated

import typer

from dreamlift.commands.training import run_data, run_folder
from dreamlift.commands.training.train import Data, Minutes, PresetName, Resume, Run, Steps


def train_interpolation_command(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Output folder: config.json, model.safetensors.")],
    first_stage: Annotated[
        Path, typer.Option(help="Folder of the autoencoder, or of a model that has one as first stage.")
    ],
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
) -> None:
    """Trains temporal super-resolution on the latents of prepared clips and writes it."""
    import torch

    from core.io.atomic import writable_folder
    from core.io.weights import load_weights
    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.processes import make_accelerator
    from core.training.trainer import Trainer
    from video.cascade.interpolation import FrameInterpolation
    from video.training.interpolation import InterpolationPreset, InterpolationTask

    budget = Budget(steps, minutes)
    writable_folder(out)
    settings = run_folder.load_training_preset(
        run, "interpolation", preset, InterpolationPreset, resume, default="interpolation"
    )
    accelerator = make_accelerator()
    stage = run_folder.first_stage(first_stage)
    (clips,) = run_data.shards(data, ["clips"], accelerator, stage)
    torch.manual_seed(settings.training.seed)
    task = InterpolationTask(clips, settings)
    trainer = Trainer(settings.model.denoiser(), task, settings.training, run, accelerator)
    finished = trainer.run(budget)
    run_folder.print_outcome(finished, run)
    if finished and accelerator.is_main_process:
        config = settings.model.model_copy(update={"first_stage": stage.fingerprint})
        denoiser = config.denoiser()
        load_weights(denoiser.network, checkpoint.read_ema(run), run)
        notes = {"frames": len(task), "samples": trainer.step * settings.training.batch_size}
        FrameInterpolation(config, denoiser).save(out, {**notes, "seconds": round(trainer.seconds)})
        print(f"{out}: the temporal super-resolution model of {run}")
