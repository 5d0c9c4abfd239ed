"""`dreamlift train super-resolution`: trains the super-resolution model and writes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from dreamlift.commands.training.train import Minutes, OwnData, Resume, Run, Steps

if TYPE_CHECKING:
    from accelerate import Accelerator

INPUTS = "inputs.json"  # in the run folder: the label of the low-resolution inputs, null for plain means


def train_super_resolution_command(
    data: OwnData,
    run: Run,
    out: Annotated[Path, typer.Option(help="Output folder: config.json, model.safetensors.")],
    model: Annotated[
        Path | None,
        typer.Option(
            help='Folder of the image model whose pictures are enlarged, or "bundled". Without one the model '
            "learns to enlarge true pictures."
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help='Initial weights: the folder of a super-resolution model, or "bundled".'),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Preset: a name or a YAML file.",
            show_default="super-resolution, and super-resolution-sharp with --init",
        ),
    ] = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
    fit: Fit = "crop",
    background: Background = "white",
    fps: FrameRate = 1,
    cache: Cache = None,
) -> None:
    """Trains the super-resolution model on large pictures, and on frames of clips, and writes it.

    Pictures that are smaller than the model's large size are left out. With --model, the first call prepares
    what that model draws at low resolution, and stores it with the prepared pictures.
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
        KINDS,
        ImagePairs,
        SuperResolutionPreset,
        SuperResolutionTask,
    )
    from core.training.trainer import Trainer

    budget = Budget(steps, minutes)
    writable_folder(out)
    toybox = check_source(data, fit, background, fps, cache)
    model = model and run_folder.start_folder(model, "image")
    usual = "super-resolution-sharp" if init else "super-resolution"
    settings = run_folder.load_training_preset(
        run, "super-resolution", preset, SuperResolutionPreset, resume, default=usual
    )
    resumed = checkpoint.exists(run)
    init = run_folder.start_folder(init, "super_resolution") if init and not resumed else None
    start = SuperResolution.load(init) if init else None
    if start and start.config != settings.model:
        raise UserError(f"The model in {init} has another shape than the preset's model.")
    accelerator = make_accelerator()
    started = settings
    own = options_of(settings.model.size, 1, fit, background, fps, enlarge=False)
    data = training_folder(data, own, cache, accelerator)
    kinds = KINDS if toybox else run_data.kinds_in(data, ["images", "clips"])
    label = _inputs(data, run, model, settings.model.low_size, kinds, accelerator)
    pairs = ImagePairs(data, label, kinds, settings.model.factor)
    if not toybox:  # nothing measures pictures of one's own that are held back
        settings = settings.model_copy(update={"held_back": 0})
    torch.manual_seed(settings.training.seed)
    denoiser = settings.model.denoiser()
    if init and start:
        load_weights(denoiser.network, start.denoiser.network.state_dict(), init)
    last_layer = denoiser.network.last_layer  # pyright: ignore[reportAttributeAccessIssue]
    adversary = settings.adversary and Adversary(settings.adversary, last_layer, accelerator)  # pyright: ignore
    task = SuperResolutionTask(pairs, settings, adversary)
    trainer = Trainer(denoiser, task, settings.training, run, accelerator, auxiliary=adversary)
    run_folder.train(trainer, budget, "super-resolution", started)
    if accelerator.is_main_process:
        finished_denoiser = settings.model.denoiser()
        load_weights(finished_denoiser.network, checkpoint.read_ema(run), run)
        notes = {"images": len(task), "held_back": settings.held_back}
        samples = trainer.step * settings.training.batch_size
        model_out = SuperResolution(settings.model, finished_denoiser)
        model_out.save(out, {**notes, "samples": samples, "seconds": round(trainer.seconds)})
        print(f"{out}: the super-resolution model of {run}")


def _inputs(
    data: Path, run: Path, model: Path | None, size: int, kinds: Sequence[str], accelerator: "Accelerator"
) -> str | None:
    """Label of the inputs that an image model draws of the shards; None without a model.

    Raises UserError when the run was started with other inputs.
    """
    from rich.progress import Progress

    from core.training.tasks.super_resolution import prepare_inputs

    label = None
    with accelerator.main_process_first():
        if model:
            drawing = run_folder.image_model(model)
            with Progress(disable=not accelerator.is_main_process) as progress:
                bar = progress.add_task("drawing inputs")
                label = prepare_inputs(
                    data,
                    drawing,
                    size,
                    lambda done, total: progress.update(bar, completed=done, total=total),
                    kinds,
                )
        if not run_folder.has_begun(run):
            run_folder.write(run / INPUTS, {"label": label})
    if run_folder.read(run / INPUTS) != {"label": label}:
        raise UserError(f"The run in {run} was started with another --model: give the one from then.")
    return label
