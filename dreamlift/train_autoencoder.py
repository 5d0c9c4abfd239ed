"""`dreamlift train autoencoder` and `dreamlift train encode`: the first stage of models on latents."""

from pathlib import Path
from typing import Annotated

import typer

from dreamlift import runs
from dreamlift.train import Data, Minutes, PresetName, Resume, Run, Steps


def train_autoencoder_command(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Folder of the autoencoder: config.json, model.safetensors.")],
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
) -> None:
    """Trains an autoencoder on prepared images; at the end writes it and prints its PSNR."""
    import torch

    from core.autoencoder import Autoencoder
    from core.files import writable_folder
    from core.training import checkpoint
    from core.training.autoencoders import AutoencoderPreset, AutoencoderTask, Bare, finished
    from core.training.config import Budget
    from core.training.trainer import Trainer, make_accelerator

    budget = Budget(steps, minutes)
    writable_folder(out)
    recipe = runs.recipe(run, "autoencoder", preset, AutoencoderPreset, resume, default="autoencoder-64")
    accelerator = make_accelerator()
    (images,) = runs.shards(data, ["images"], accelerator)
    task = AutoencoderTask(images, recipe)
    torch.manual_seed(recipe.training.seed)
    trainer = Trainer(Bare(Autoencoder(recipe.model)), task, recipe.training, run, accelerator)
    spent = trainer.run(budget)
    runs.say(spent, run)
    if spent and accelerator.is_main_process:
        autoencoder, quality = finished(task, checkpoint.read_average(run), run, accelerator.device)
        samples = trainer.step * recipe.training.batch_size
        notes = {"images": len(task), "held_back": recipe.held_back, "samples": samples}
        autoencoder.save(out, {**notes, "seconds": round(trainer.seconds), **quality})
        print(f"{out}: " + ", ".join(f"{name} {value:.2f} dB" for name, value in quality.items()))


def encode_command(
    data: Data,
    first_stage: Annotated[Path, typer.Option(help="Folder of the autoencoder.")],
    clips: Annotated[bool, typer.Option(help="Encode the clips as well as the images.")] = True,
) -> None:
    """Encodes prepared shards, as training on latents does by itself before its first step."""
    from core.autoencoder import Autoencoder
    from core.training.trainer import make_accelerator

    autoencoder = Autoencoder.load(first_stage)
    found = runs.shards(data, ["images", "clips"] if clips else ["images"], make_accelerator(), autoencoder)
    print(f"{data}: latents of {', '.join(str(len(part)) for part in found)} ({autoencoder.fingerprint})")
