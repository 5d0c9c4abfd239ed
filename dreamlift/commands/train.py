"""`dreamlift train`: makes the bundled models, or others of a preset. Heavy imports wait for a command."""

from pathlib import Path
from typing import Annotated

import typer

from core.errors import UserError
from core.io.presets import validate
from dreamlift.commands import run_folder as runs

app = typer.Typer(
    help="Train the image or the video model, and export what was trained.", no_args_is_help=True
)

Data = Annotated[Path, typer.Option(help="Folder of prepared shards.")]
Run = Annotated[Path, typer.Option(help="Folder of the run: checkpoint, log, preset.")]
PresetName = Annotated[
    str | None, typer.Option(help="A name or a YAML file.", show_default="the bundled model's")
]
Minutes = Annotated[float | None, typer.Option(help="Train so long; the learning rate ends at zero.")]
Steps = Annotated[int | None, typer.Option(help="Train so many steps; with --minutes, the first to come.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run, or begin where there is none.")]


@app.command()
def image(
    data: Data,
    run: Run,
    init: Annotated[
        Path | None, typer.Option(help="An image model to go on from: its folder, or its run's.")
    ] = None,
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
    first_stage: Annotated[
        Path | None,
        typer.Option(help="For a preset of a model on latents: the folder of its autoencoder."),
    ] = None,
) -> None:
    """Trains the image model on prepared images."""
    import torch

    from core.io.weights import load_weights
    from core.models.autoencoder import Autoencoder
    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.data import ImageData
    from core.training.images import ImagePreset, ImageTask
    from core.training.trainer import Trainer, make_accelerator

    budget = Budget(steps, minutes)
    recipe = runs.load_training_preset(run, "image", preset, ImagePreset, resume)
    start = runs.image_model(init) if init and not checkpoint.exists(run) else None
    given = Autoencoder.load(first_stage) if first_stage else start and start.first_stage
    stage = runs.store_first_stage(run, recipe.model, given)
    accelerator = make_accelerator()
    wanted = {"images": True, "clips": recipe.clip_frames, "objects": recipe.objects}
    kinds = [kind for kind, learned in wanted.items() if learned]
    pictures = runs.shards(data, kinds, accelerator, stage)
    examples = ImageData(pictures, runs.captions(data, accelerator), recipe.dropout)
    task = ImageTask(examples, recipe)
    torch.manual_seed(recipe.training.seed)
    denoiser = recipe.model.denoiser()
    if init and start:
        load_weights(denoiser.network, start.denoiser.network.state_dict(), init)
    runs.print_outcome(Trainer(denoiser, task, recipe.training, run, accelerator).run(budget), run)


@app.command()
def video(
    data: Data,
    run: Run,
    init: Annotated[
        Path | None,
        typer.Option(
            help="The image model to lift: its folder, or its run's; or a video model's folder to go on from."
        ),
    ] = None,
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
) -> None:
    """Trains the video model on prepared clips and images, starting from an image model."""
    import torch

    from core.toybox.dataset import FRAMES
    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.data import ImageData
    from core.training.trainer import Trainer, make_accelerator
    from video.training import ClipData, VideoPreset, VideoTask
    from video.video_model import VideoModelConfig

    budget = Budget(steps, minutes)
    going_on = checkpoint.exists(run)
    if not (going_on or init):
        raise UserError(
            "A video model starts from an image model: name its folder, or its run's, with --init."
        )
    found = None if going_on or not init else runs.video_start(init)
    recipe = runs.load_training_preset(run, "video", preset, VideoPreset, resume)
    torch.manual_seed(recipe.training.seed)
    start = found and runs.inflate_model(found, recipe, FRAMES)
    accelerator = make_accelerator()
    model = run / runs.MODEL
    config = start.config if start else validate(runs.read(model), VideoModelConfig, model)
    stage = runs.store_first_stage(run, config.image, start and start.first_stage)
    kinds = ["clips", "images", "objects"] if recipe.objects else ["clips", "images"]
    clips, *images = runs.shards(data, kinds, accelerator, stage)
    captions = runs.captions(data, accelerator)
    if start:
        runs.write(model, config.model_dump(mode="json"))
    denoiser = start.denoiser if start else config.denoiser()
    task = VideoTask(
        ClipData(clips, captions, recipe.dropout, recipe.frames, recipe.strides),
        ImageData(images, captions, recipe.dropout),
        recipe.noise_share,
        recipe.image_steps,
        recipe.snr_gamma,
        recipe.motion_weight,
    )
    runs.print_outcome(
        Trainer(denoiser, task, recipe.training, run, accelerator, recipe.rate).run(budget), run
    )


@app.command()
def export(
    run: Run,
    out: Annotated[Path, typer.Option(help="Folder of the model: config.json, model.safetensors.")],
    base: Annotated[
        Path | None,
        typer.Option(
            help="For a video model: folder of an image model whose weights need not be stored again."
        ),
    ] = None,
    image_layers: Annotated[
        bool, typer.Option("--image", help="Of a video model's run: the image model inside it.")
    ] = False,
) -> None:
    """Writes the averaged weights of a run as a model, float16."""
    from core.io.weights import load_weights
    from core.training import checkpoint
    from video.video_model import VideoModel, VideoModelConfig

    kind, _ = runs.stored(run)
    if kind not in ("image", "video"):
        raise UserError(f"The run in {run} trains the {kind}, which writes its model itself.")
    if kind == "image" or image_layers:
        if base:
            raise UserError("--base is for video models: an image model rests on no other.")
        kind = "image"
        runs.image_model(run).save(out)
    else:
        config = validate(runs.read(run / runs.MODEL), VideoModelConfig, run / runs.MODEL)
        denoiser = config.denoiser()
        load_weights(denoiser.network, checkpoint.read_ema(run), run)
        first_stage = runs.store_first_stage(run, config.image, None)
        VideoModel(config, denoiser, first_stage=first_stage).save(out, base)
    print(f"{out}: the {kind} model of {run}")
