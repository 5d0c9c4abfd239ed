"""Commands for the first stage of latent models: train it and its perceptual features, and apply it."""

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
from dreamlift.commands.training.train import Data, Minutes, OwnData, PresetName, Resume, Run, Steps

if TYPE_CHECKING:
    from core.models.perceptual import PerceptualDistance

FEATURES = "perceptual"  # in the run folder: the features of the perceptual distance
TESTED = 20  # of so many pictures of one's own, one is held back for the PSNR


def train_autoencoder_command(
    data: OwnData,
    run: Run,
    out: Annotated[Path, typer.Option(help="Output folder: config.json, model.safetensors.")],
    init: Annotated[
        Path | None,
        typer.Option(
            help="Initial weights: the folder of an autoencoder, or of a model that has one as first stage, "
            'or "bundled".'
        ),
    ] = None,
    decoder_only: Annotated[
        bool,
        typer.Option("--decoder-only", help="Train only the decoder of --init; its latents do not change."),
    ] = False,
    perceptual: Annotated[
        Path | None,
        typer.Option(help="For a preset with a perceptual_weight: the folder of the features."),
    ] = None,
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
    fit: Fit = "crop",
    background: Background = "white",
    fps: FrameRate = 8,
    cache: Cache = None,
) -> None:
    """Trains an autoencoder on pictures, and on the frames of clips; writes it and prints its PSNR."""
    import torch

    from core.io.atomic import writable_folder
    from core.io.weights import load_weights
    from core.models.autoencoder import Autoencoder
    from core.toybox.dataset import FRAMES
    from core.training import checkpoint
    from core.training.adversary import Adversary
    from core.training.config import Budget
    from core.training.data import Shards
    from core.training.processes import make_accelerator
    from core.training.tasks.autoencoders import AutoencoderPreset, AutoencoderTask, trained_autoencoder
    from core.training.trainer import BareNetwork, Trainer

    budget = Budget(steps, minutes)
    writable_folder(out)
    toybox = check_source(data, fit, background, fps, cache)
    run_folder.check_folders(perceptual)
    resumed = checkpoint.exists(run)
    init = init and run_folder.start_folder(init, "image")

    def adapt(named: AutoencoderPreset) -> AutoencoderPreset:
        return named.model_copy(update={"decoder_only": named.decoder_only or decoder_only})

    settings = run_folder.load_training_preset(
        run, "autoencoder", preset, AutoencoderPreset, resume, default="autoencoder-64", adapt=adapt
    )
    start = run_folder.first_stage(init) if init and not resumed else None
    if decoder_only and not settings.decoder_only:
        raise UserError(f"The run in {run} trains the encoder too: leave out --decoder-only.")
    if settings.decoder_only and not (start or resumed):
        raise UserError("--decoder-only needs a trained autoencoder: name its folder with --init.")
    if start and start.config != settings.model:
        raise UserError(f"The autoencoder in {init} has another shape than the preset's model.")
    accelerator = make_accelerator()
    distance = _perceptual_distance(run, settings.perceptual_weight, perceptual)
    started = settings
    own = options_of(settings.model.size, FRAMES, fit, background, fps)
    data = training_folder(data, own, cache, accelerator)
    kinds = run_data.kinds_in(data, ["images", *([] if toybox else ["clips"])])
    images = Shards(data, kinds, accelerator.device)
    if not toybox:
        held_back = max(1, min(settings.held_back, len(images) // TESTED))
        settings = settings.model_copy(update={"held_back": held_back})
    torch.manual_seed(settings.training.seed)
    autoencoder = Autoencoder(settings.model)
    if init and start:
        load_weights(autoencoder, start.state_dict(), init)
    if settings.decoder_only:
        autoencoder.freeze_encoder()
    adversary = settings.adversary and Adversary(settings.adversary, autoencoder.last_layer, accelerator)
    task = AutoencoderTask(images, settings, distance and distance.to(accelerator.device), adversary)
    trainer = Trainer(
        BareNetwork(autoencoder), task, settings.training, run, accelerator, auxiliary=adversary
    )
    run_folder.train(trainer, budget, "autoencoder", started)
    if accelerator.is_main_process:
        autoencoder, quality = trained_autoencoder(task, checkpoint.read_ema(run), run, accelerator.device)
        samples = trainer.step * settings.training.batch_size
        notes = {"images": len(task), "held_back": settings.held_back, "samples": samples}
        autoencoder.save(out, {**notes, "seconds": round(trainer.seconds), **quality})
        figures = (f"{name} {value:.2f}{' dB' * name.startswith('psnr')}" for name, value in quality.items())
        print(f"{out}: " + ", ".join(figures))


def train_features_command(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Output folder: config.json, model.safetensors.")],
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
) -> None:
    """Trains the feature extractor of a perceptual distance on labeled images and writes it."""
    import torch

    from core.io.atomic import writable_folder
    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.processes import make_accelerator
    from core.training.tasks.features import (
        Classifier,
        FeaturesPreset,
        FeaturesTask,
        LabeledImages,
        trained_features,
    )
    from core.training.trainer import BareNetwork, Trainer

    budget = Budget(steps, minutes)
    writable_folder(out)
    settings = run_folder.load_training_preset(
        run, "features", preset, FeaturesPreset, resume, default="features-64"
    )
    accelerator = make_accelerator()
    task = FeaturesTask(LabeledImages(data, "images", accelerator.device), settings)
    torch.manual_seed(settings.training.seed)
    classifier = Classifier(settings.model, task.images.classes)
    trainer = Trainer(BareNetwork(classifier), task, settings.training, run, accelerator)
    run_folder.train(trainer, budget, "features", settings)
    if accelerator.is_main_process:
        extractor, accuracy = trained_features(task, checkpoint.read_ema(run), run, accelerator.device)
        notes = {"images": len(task), "held_back": settings.held_back, "steps": trainer.step}
        extractor.save(out, {**notes, "accuracy": {name: round(x, 4) for name, x in accuracy.items()}})
        print(f"{out}: " + ", ".join(f"{name} {share:.1%}" for name, share in accuracy.items()))


def encode_command(
    data: Data,
    first_stage: Annotated[Path, typer.Option(help="Folder of the autoencoder.")],
    clips: Annotated[bool, typer.Option(help="Encode the clips as well as the images.")] = True,
) -> None:
    """Encodes prepared shards into cached latents, as training on latents does before its first step."""
    from core.models.autoencoder import Autoencoder
    from core.training.processes import make_accelerator

    kinds = ["images", "clips"] if clips else ["images"]
    run_data.check_shards(data, kinds)
    autoencoder = Autoencoder.load(first_stage)
    latents = run_data.shards(data, kinds, make_accelerator(), autoencoder)
    print(f"{data}: latents of {', '.join(str(len(part)) for part in latents)} ({autoencoder.fingerprint})")


def swap_decoder_command(
    model: Annotated[Path, typer.Option(help="Folder of a latent image or video model.")],
    first_stage: Annotated[Path, typer.Option(help="Folder of the autoencoder with the new decoder.")],
    out: Annotated[Path, typer.Option(help="Output folder: config.json, model.safetensors.")],
    base: Annotated[
        Path | None,
        typer.Option(
            help="For a video model: folder of an image model whose weights it shares and does not store."
        ),
    ] = None,
) -> None:
    """Writes a copy of a model with a decoder that was trained further with --decoder-only."""
    from core.models.image_model import ImageModel

    run_folder.check_folders(model, first_stage, base)
    swapped, autoencoder = run_folder.video_start(model), run_folder.first_stage(first_stage)
    if not swapped.first_stage or swapped.first_stage.fingerprint != autoencoder.fingerprint:
        raise UserError(f"The autoencoder in {first_stage} makes other latents than the model in {model}.")
    swapped.first_stage = autoencoder
    if isinstance(swapped, ImageModel):
        if base:
            raise UserError("--base is for video models: an image model stores all of its weights.")
        swapped.save(out)
    else:
        swapped.save(out, base)
    print(f"{out}: {model} with the decoder of {first_stage}")


def _perceptual_distance(run: Path, weight: float, given: Path | None) -> "PerceptualDistance | None":
    """Perceptual distance of an autoencoder's run; None where its weight is 0.

    given: folder of its feature extractor, which is then copied into the run folder.
    Raises UserError when there is none, or when `given` differs from the stored one.
    """
    from core.io.weights import load_folder
    from core.models.perceptual import FeatureExtractor, PerceptualDistance

    if not weight:
        if given:
            raise UserError("This preset has no perceptual_weight: leave out --perceptual.")
        return None
    folder = run / FEATURES
    if not (folder.is_dir() and run_folder.has_begun(run)):
        if not given:
            raise UserError(
                "This preset has a perceptual_weight: name the folder of the features, which "
                "dreamlift train features makes, with --perceptual."
            )
        FeatureExtractor.load(given).save(folder)
    elif given and load_folder(given).sha256 != load_folder(folder).sha256:
        raise UserError(f"The run in {run} was started with other features.")
    return PerceptualDistance(FeatureExtractor.load(folder))
