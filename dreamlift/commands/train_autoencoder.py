"""The commands of the first stage of models on latents: it, the features it is judged by, and its use."""

from pathlib import Path
from typing import Annotated

import typer

from core.errors import UserError
from dreamlift.commands import run_folder as runs
from dreamlift.commands.train import Data, Minutes, PresetName, Resume, Run, Steps


def train_autoencoder_command(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Folder of the autoencoder: config.json, model.safetensors.")],
    init: Annotated[
        Path | None,
        typer.Option(
            help="An autoencoder to go on from: its folder, or a model's that has one as first stage."
        ),
    ] = None,
    decoder_only: Annotated[
        bool,
        typer.Option("--decoder-only", help="Train the decoder of --init; its latents stay what they are."),
    ] = False,
    perceptual: Annotated[
        Path | None,
        typer.Option(help="For a preset with a perceptual_weight: the folder of the features."),
    ] = None,
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
) -> None:
    """Trains an autoencoder on prepared images; at the end writes it and prints its PSNR."""
    import torch

    from core.io.atomic import writable_folder
    from core.io.weights import load_weights
    from core.models.autoencoder import Autoencoder
    from core.training import checkpoint
    from core.training.adversary import Adversary
    from core.training.autoencoders import AutoencoderPreset, AutoencoderTask, trained_autoencoder
    from core.training.config import Budget
    from core.training.trainer import BareNetwork, Trainer, make_accelerator

    budget = Budget(steps, minutes)
    writable_folder(out)
    going_on = checkpoint.exists(run)
    start = runs.first_stage(init) if init and not going_on else None
    changes = {"decoder_only": True} if decoder_only else {}
    recipe = runs.load_training_preset(
        run, "autoencoder", preset, AutoencoderPreset, resume, default="autoencoder-64", **changes
    )
    if decoder_only and not recipe.decoder_only:
        raise UserError(f"The run in {run} trains the encoder too: leave out --decoder-only.")
    if recipe.decoder_only and not (start or going_on):
        raise UserError("Training the decoder only needs a trained autoencoder: name its folder with --init.")
    if start and start.config != recipe.model:
        raise UserError(f"The autoencoder in {init} has another shape than the preset's model.")
    accelerator = make_accelerator()
    distance = runs.perceptual_distance(run, recipe.perceptual_weight, perceptual)
    (images,) = runs.shards(data, ["images"], accelerator)
    torch.manual_seed(recipe.training.seed)
    autoencoder = Autoencoder(recipe.model)
    if init and start:
        load_weights(autoencoder, start.state_dict(), init)
    if recipe.decoder_only:
        autoencoder.freeze_encoder()
    adversary = recipe.adversary and Adversary(recipe.adversary, autoencoder.last_layer, accelerator)
    task = AutoencoderTask(images, recipe, distance and distance.to(accelerator.device), adversary)
    trainer = Trainer(BareNetwork(autoencoder), task, recipe.training, run, accelerator, auxiliary=adversary)
    spent = trainer.run(budget)
    runs.print_outcome(spent, run)
    if spent and accelerator.is_main_process:
        autoencoder, quality = trained_autoencoder(task, checkpoint.read_ema(run), run, accelerator.device)
        samples = trainer.step * recipe.training.batch_size
        notes = {"images": len(task), "held_back": recipe.held_back, "samples": samples}
        autoencoder.save(out, {**notes, "seconds": round(trainer.seconds), **quality})
        said = (f"{name} {value:.2f}{' dB' * name.startswith('psnr')}" for name, value in quality.items())
        print(f"{out}: " + ", ".join(said))


def train_features_command(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Folder of the features: config.json, model.safetensors.")],
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
) -> None:
    """Trains the features of a perceptual distance on labeled images; at the end writes them."""
    import torch

    from core.io.atomic import writable_folder
    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.features import (
        Classifier,
        FeaturesPreset,
        FeaturesTask,
        LabeledImages,
        trained_features,
    )
    from core.training.trainer import BareNetwork, Trainer, make_accelerator

    budget = Budget(steps, minutes)
    writable_folder(out)
    recipe = runs.load_training_preset(run, "features", preset, FeaturesPreset, resume, default="features-64")
    accelerator = make_accelerator()
    task = FeaturesTask(LabeledImages(data, "images", accelerator.device), recipe)
    torch.manual_seed(recipe.training.seed)
    classifier = Classifier(recipe.model, task.images.classes)
    trainer = Trainer(BareNetwork(classifier), task, recipe.training, run, accelerator)
    spent = trainer.run(budget)
    runs.print_outcome(spent, run)
    if spent and accelerator.is_main_process:
        trunk, right = trained_features(task, checkpoint.read_ema(run), run, accelerator.device)
        notes = {"images": len(task), "held_back": recipe.held_back, "steps": trainer.step}
        trunk.save(out, {**notes, "accuracy": {name: round(share, 4) for name, share in right.items()}})
        print(f"{out}: " + ", ".join(f"{name} {share:.1%}" for name, share in right.items()))


def encode_command(
    data: Data,
    first_stage: Annotated[Path, typer.Option(help="Folder of the autoencoder.")],
    clips: Annotated[bool, typer.Option(help="Encode the clips as well as the images.")] = True,
) -> None:
    """Encodes prepared shards, as training on latents does by itself before its first step."""
    from core.models.autoencoder import Autoencoder
    from core.training.trainer import make_accelerator

    autoencoder = Autoencoder.load(first_stage)
    found = runs.shards(data, ["images", "clips"] if clips else ["images"], make_accelerator(), autoencoder)
    print(f"{data}: latents of {', '.join(str(len(part)) for part in found)} ({autoencoder.fingerprint})")


def swap_decoder_command(
    model: Annotated[Path, typer.Option(help="Folder of an image or video model on latents.")],
    first_stage: Annotated[Path, typer.Option(help="Folder of the autoencoder whose decoder it gets.")],
    out: Annotated[Path, typer.Option(help="Folder of the new model: config.json, model.safetensors.")],
    base: Annotated[
        Path | None,
        typer.Option(
            help="For a video model: folder of an image model whose weights need not be stored again."
        ),
    ] = None,
) -> None:
    """Writes a model whose pictures are drawn by a decoder trained on with --decoder-only."""
    from core.models.image_model import ImageModel

    found, given = runs.video_start(model), runs.first_stage(first_stage)
    if not found.first_stage or found.first_stage.fingerprint != given.fingerprint:
        raise UserError(f"The autoencoder in {first_stage} makes other latents than the model in {model}.")
    found.first_stage = given
    if isinstance(found, ImageModel):
        if base:
            raise UserError("--base is for video models: an image model rests on no other.")
        found.save(out)
    else:
        found.save(out, base)
    print(f"{out}: {model} with the decoder of {first_stage}")
