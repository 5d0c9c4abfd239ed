"""`dreamlift train`: trains the bundled models, or others by preset. Heavy imports wait for a command."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from core.command_line.arguments import CommandLine
from core.errors import UserError
from core.io.atomic import writable_folder
from core.io.presets import load_preset, validate
from dreamlift.commands.data import (
    Background,
    Cache,
    Fit,
    check_source,
    options_of,
    training_folder,
)
from dreamlift.commands.folders import writes
from dreamlift.commands.training import run_data, run_folder, watching
from dreamlift.commands.training.train_checkpoint import (
    is_checkpoint,
    train_checkpoint,
)

app = CommandLine(
    help="Train image models, video models and autoencoders, and export them.", no_args_is_help=True
)

Data = Annotated[Path, typer.Option(help="Folder of prepared shards.")]
FRAME_RATE = 8.0  # frames per second of this project's models
OwnData = Annotated[
    Path,
    typer.Option(help="Folder of pictures and clips of yours, or of shards of dreamlift toybox."),
]
Run = Annotated[Path, typer.Option(help="Run folder: checkpoint, log, preset.")]
PresetName = Annotated[
    str | None, typer.Option(help="Preset: a name or a YAML file.", show_default="the bundled model's")
]
Minutes = Annotated[
    float | None, typer.Option(help="Training time in minutes; the learning rate ends at zero.")
]
Steps = Annotated[
    int | None, typer.Option(help="Training steps; with --minutes, whichever limit is reached first.")
]
TrainingRate = Annotated[
    float | None,
    typer.Option(
        "--fps", help="Frames per second that are taken from clips.", show_default="the preset's, or 8"
    ),
]
Rank = Annotated[
    int | None,
    typer.Option(help="Train low-rank changes (LoRA) of that rank, of the model of --init.", min=1, max=4096),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run, or start it if there is none.")]


@app.command()
@writes("run")
def image(
    data: OwnData,
    run: Run,
    init: Annotated[
        Path | None,
        typer.Option(
            help='Initial weights: the folder of an image model or of its run, "bundled", or a checkpoint of '
            "Stable Diffusion or SDXL, by folder or hub id, of which a LoRA is trained."
        ),
    ] = None,
    preset: PresetName = None,
    rank: Rank = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
    first_stage: Annotated[
        Path | None,
        typer.Option(help="For a preset of a latent model: the folder of its autoencoder."),
    ] = None,
    fit: Fit = "crop",
    background: Background = "white",
    fps: TrainingRate = None,
    cache: Cache = None,
    contrastive: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a contrastive model whose image embeddings the model reads as well, as unCLIP's "
            "decoder does."
        ),
    ] = None,
    sample: watching.Samples = None,
    track: watching.Track = None,
) -> None:
    """Trains an image model on pictures, and on the frames of clips."""
    import torch

    from core.models.autoencoder import Autoencoder
    from core.models.image_model import ImageModel
    from core.models.unclip.contrastive import ContrastiveModel
    from core.toybox.dataset import FRAMES
    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.data import NO_DROPOUT, ImageData
    from core.training.monitoring.validation import hold_back, split
    from core.training.processes import make_accelerator
    from core.training.tasks.images import ImagePreset, ImageTask
    from core.training.trainer import Trainer

    budget = Budget(steps, minutes)
    watching.check(sample, track)
    if is_checkpoint(init, run):
        if first_stage or contrastive:
            option = "--first-stage" if first_stage else "--contrastive"
            raise UserError(f"{option} is for models of this project, not for checkpoints: leave it out.")
        watching.refuse(sample, track)
        start = run, init, preset, budget, resume, rank, None
        return train_checkpoint("image", data, *start, fit, background, fps, cache)
    init = init and run_folder.start_folder(init, "image")
    toybox = check_source(data, fit, background, fps, cache)
    begins = not checkpoint.exists(run)
    if rank and begins and not init:
        raise UserError("Low-rank changes are of a model: name it with --init, which may be bundled.")
    writable_folder(run)
    run_folder.check_folders(first_stage, contrastive)
    if preset:
        load_preset(preset, ImagePreset)  # which may be refused before weights are read
    start = run_folder.image_model(init) if init and begins else run_folder.base_model(run)
    embedding = ContrastiveModel.load(contrastive) if contrastive else None

    def adapt(named: ImagePreset) -> ImagePreset:
        named = named.model_copy(update={"rank": rank or named.rank})
        model = start.config if start and (named.rank or not preset) else named.model
        model = model.model_copy(update={"reads_attributes": toybox and model.reads_attributes})
        if embedding:
            network = model.network.model_copy(update={"image_width": embedding.config.embedding})
            model = model.model_copy(update={"network": network})
            named = named.model_copy(update={"clip_frames": False})  # embeddings are of single images
        return named.model_copy(update={"model": model})

    default = "low-rank-image" if rank else "bundled-image"
    settings = run_folder.load_training_preset(run, "image", preset, ImagePreset, resume, default, adapt)
    if rank and rank != settings.rank:
        raise UserError(f"The run in {run} trains {run_folder.extent(settings)}: leave out --rank.")
    if settings.rank and init and begins:
        run_folder.keep_base(run, init)
    given = Autoencoder.load(first_stage) if first_stage else start and start.first_stage
    stage = run_folder.store_first_stage(run, settings.model, given)
    accelerator = make_accelerator(track, run)
    own = options_of(settings.model.size, FRAMES, fit, background, fps or FRAME_RATE)
    data = training_folder(data, own, cache, accelerator)
    enabled = {"images": True, "clips": settings.clip_frames, "objects": settings.objects}
    kinds = run_data.kinds_in(data, [kind for kind, used in enabled.items() if used])
    pictures = run_data.shards(data, kinds, accelerator, stage)
    captions = run_data.captions(data, accelerator)
    held = hold_back(pictures, settings.monitoring, settings.training.seed, own=not toybox)
    trained, validated = split(pictures, held)
    embedded = embedding and run_data.embeddings(data, kinds, run, embedding, accelerator)
    embedded, validating = split(embedded, held) if embedded else (None, None)
    task = ImageTask(ImageData(trained, captions, settings.dropout, embedded), settings)
    torch.manual_seed(settings.training.seed)
    denoiser = settings.model.denoiser()
    if start:
        run_folder.start_from(denoiser.network, start, init or run)
        if embedded and begins and not start.config.network.image_width:
            run_data.read_as_texts(denoiser.network, ImageData(trained, captions, NO_DROPOUT, embedded))
    if settings.rank:
        changed = run_folder.low_rank(denoiser.network, settings.rank, accelerator.device)
        denoiser = denoiser.with_network(changed)
    monitors = watching.monitors(
        run,
        settings,
        accelerator,
        denoiser,
        lambda averaged: partial(
            ImageModel(settings.model, averaged, first_stage=stage).sample,
            **watching.guidance(settings.model),
        ),
        ImageTask.validating(validated, captions, settings, validating) if validated else None,
        sample or watching.prompts_of(data, held),
    )
    trainer = Trainer(denoiser, task, settings.training, run, accelerator, monitors=monitors)
    watching.train(trainer, budget, "image", settings)


@app.command()
@writes("run")
def video(
    data: OwnData,
    run: Run,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Initial weights: the folder of an image model or of its run, a video model's folder, "
            '"bundled", or a checkpoint by folder or hub id: of Wan, LTX or CogVideoX, of which a LoRA is '
            "trained, or of Stable Diffusion or SDXL, for which motion layers are."
        ),
    ] = None,
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
    fit: Fit = "crop",
    background: Background = "white",
    fps: TrainingRate = None,
    cache: Cache = None,
    rank: Rank = None,
    motion: Annotated[
        str | None,
        typer.Option(
            help="Of an image checkpoint: the motion adapter to start from.", show_default="new layers"
        ),
    ] = None,
    sample: watching.Samples = None,
    track: watching.Track = None,
) -> None:
    """Trains a video model on clips and pictures, starting from an image model."""
    import torch

    from core.toybox.dataset import FRAMES
    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.data import ImageData
    from core.training.monitoring.validation import hold_back, split
    from core.training.processes import make_accelerator
    from core.training.trainer import Trainer
    from video.training.clips import ClipData, VideoPreset, VideoTask
    from video.video_folder import VideoModelConfig
    from video.video_model import VideoModel

    budget = Budget(steps, minutes)
    watching.check(sample, track)
    if is_checkpoint(init, run):
        watching.refuse(sample, track)
        start = run, init, preset, budget, resume, rank, motion
        return train_checkpoint("video", data, *start, fit, background, fps, cache)
    if rank or motion:
        raise UserError("--rank and --motion are for checkpoints: name one with --init, or leave them out.")
    init = init and run_folder.start_folder(init, "video")
    resumed = checkpoint.exists(run)
    if not (resumed or init):
        raise UserError(
            "A video model starts from an image model: name its folder or its run folder with --init."
        )
    own_data = not check_source(data, fit, background, fps, cache)
    settings = run_folder.load_training_preset(run, "video", preset, VideoPreset, resume)
    initial = None if resumed or not init else run_folder.video_start(init)
    torch.manual_seed(settings.training.seed)
    start = initial and run_folder.inflate_model(initial, settings, FRAMES)
    if start and own_data:
        start.config = start.config.model_copy(
            update={"image": start.config.image.model_copy(update={"reads_attributes": False})}
        )
    accelerator = make_accelerator(track, run)
    model = run / run_folder.MODEL
    config = start.config if start else validate(run_folder.read(model), VideoModelConfig, model)
    stage = run_folder.store_first_stage(run, config.image, start and start.first_stage)
    own = options_of(config.image.size, settings.frames, fit, background, fps or FRAME_RATE)
    data = training_folder(data, own, cache, accelerator)
    kinds = run_data.kinds_in(data, ["clips", "images", *(["objects"] if settings.objects else [])])
    if kinds[0] != "clips":
        raise UserError(f"{data} holds no clips: a video model needs some.")
    sources = run_data.shards(data, kinds, accelerator, stage)
    captions = run_data.captions(data, accelerator)
    held = hold_back(sources[:1], settings.monitoring, settings.training.seed, own_data)
    (clips,), validated = split(sources[:1], held)
    images, _ = split(sources[1:], held)
    if start:
        run_folder.write(model, config.model_dump(mode="json"))
    denoiser = start.denoiser if start else config.denoiser()
    timesteps = denoiser.schedule.timesteps
    task = VideoTask(
        ClipData(clips, captions, settings.dropout, settings.frames, settings.strides),
        ImageData(images or [clips], captions, settings.dropout),
        settings,
        timesteps,
    )
    monitors = watching.monitors(
        run,
        settings,
        accelerator,
        denoiser,
        lambda averaged: partial(
            VideoModel(config, averaged, first_stage=stage).sample,
            frames=settings.frames,
            **watching.guidance(config.image),
        ),
        VideoTask.validating(validated[0], captions, settings, timesteps) if validated else None,
        sample or watching.prompts_of(data, held),
    )
    trainer = Trainer(denoiser, task, settings.training, run, accelerator, settings.rate, monitors=monitors)
    watching.train(trainer, budget, "video", settings)
