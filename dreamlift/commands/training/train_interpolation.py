"""`dreamlift train interpolation`: trains temporal super-resolution and writes it."""

from pathlib import Path
from typing import Annotated

import typer

from core.errors import UserError
from dreamlift.commands.data import (
    Background,
    Cache,
    Fit,
    FrameRate,
    check_source,
    options_of,
    training_folder,
)
from dreamlift.commands.training import run_data, run_folder
from dreamlift.commands.training.train import Minutes, OwnData, PresetName, Resume, Run, Steps


def train_interpolation_command(
    data: OwnData,
    run: Run,
    out: Annotated[Path, typer.Option(help="Output folder: config.json, model.safetensors.")],
    first_stage: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the autoencoder, or of a model that has one as first stage.",
            show_default="the bundled image model",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help='Initial weights: the folder of an interpolation model, or "bundled".'),
    ] = None,
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
    fit: Fit = "crop",
    background: Background = "white",
    fps: FrameRate = 16,
    cache: Cache = None,
    int8: Annotated[bool, typer.Option("--int8", help="Write 8 bits for each weight.")] = False,
) -> None:
    """Trains temporal super-resolution on the latents of clips and writes it.

    Clips are read at twice the frame rate of the video model, which is 8, to learn the frames between.
    """
    import torch

    from core.io.atomic import writable_folder
    from core.io.weights import load_weights
    from core.toybox.dataset import FRAMES
    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.processes import make_accelerator
    from core.training.trainer import Trainer
    from video.cascade.interpolation import FrameInterpolation
    from video.training.interpolation import InterpolationPreset, InterpolationTask

    budget = Budget(steps, minutes)
    writable_folder(out)
    check_source(data, fit, background, fps, cache)
    settings = run_folder.load_training_preset(
        run, "interpolation", preset, InterpolationPreset, resume, default="interpolation"
    )
    init = run_folder.start_folder(init, "interpolation") if init and not checkpoint.exists(run) else None
    stage = run_folder.chosen_first_stage(run, first_stage)
    start = FrameInterpolation.load(init) if init else None
    if start and start.config.first_stage != stage.fingerprint:
        raise UserError(f"The interpolation model in {init} is of other latents than those of --first-stage.")
    accelerator = make_accelerator()
    own = options_of(stage.config.size, FRAMES, fit, background, fps)
    prepared = training_folder(data, own, cache, accelerator)
    if run_data.kinds_in(prepared, ["clips", "images"])[0] != "clips":
        raise UserError(f"{data} holds no clips: temporal super-resolution needs some.")
    (clips,) = run_data.shards(prepared, ["clips"], accelerator, stage)
    torch.manual_seed(settings.training.seed)
    task = InterpolationTask(clips, settings)
    denoiser = settings.model.denoiser()
    if init and start:
        load_weights(denoiser.network, start.denoiser.network.state_dict(), init)
    trainer = Trainer(denoiser, task, settings.training, run, accelerator)
    run_folder.train(trainer, budget, "interpolation", settings)
    if accelerator.is_main_process:
        config = settings.model.model_copy(update={"first_stage": stage.fingerprint})
        denoiser = config.denoiser()
        load_weights(denoiser.network, checkpoint.read_ema(run), run)
        notes = {"frames": len(task), "samples": trainer.step * settings.training.batch_size}
        FrameInterpolation(config, denoiser).save(out, {**notes, "seconds": round(trainer.seconds)}, int8)
        print(f"{out}: the temporal super-resolution model of {run}")
