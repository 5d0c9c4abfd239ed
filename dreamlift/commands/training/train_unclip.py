"""`dreamlift train contrastive` and `train prior`: the models of unCLIP around its decoder.

The decoder itself is trained by `dreamlift train image --contrastive`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import UserError
from dreamlift.commands.training import run_data, run_folder
from dreamlift.commands.training.train import Data, Minutes, PresetName, Resume, Run, Steps

if TYPE_CHECKING:
    from core.training.trainer import Trainer

KINDS = ("images", "objects")  # shards of single images

Out = Annotated[Path, typer.Option(help="Output folder: config.json, model.safetensors.")]


def train_contrastive_command(
    data: Data,
    run: Run,
    out: Out,
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
) -> None:
    """Trains a joint embedding of images and texts (CLIP), and writes it."""
    import torch

    from core.io.weights import load_weights
    from core.models.unclip.contrastive import ContrastiveModel
    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.data import NO_DROPOUT, ImageData
    from core.training.processes import make_accelerator
    from core.training.tasks.unclip import ContrastivePreset, ContrastiveTask
    from core.training.trainer import BareNetwork, Trainer

    budget = Budget(steps, minutes)
    settings = run_folder.load_training_preset(
        run, "contrastive", preset, ContrastivePreset, resume, "contrastive"
    )
    accelerator = make_accelerator()
    images = run_data.shards(data, run_data.kinds_in(data, KINDS), accelerator)
    pairs = ImageData(images, run_data.captions(data, accelerator), NO_DROPOUT)
    task = ContrastiveTask(pairs, settings.gray)
    torch.manual_seed(settings.training.seed)
    model = BareNetwork(ContrastiveModel(settings.model))
    trainer = Trainer(model, task, settings.training, run, accelerator)
    run_folder.train(trainer, budget, "contrastive", settings)
    if accelerator.is_main_process:
        averaged = ContrastiveModel(settings.model)
        load_weights(averaged, checkpoint.read_ema(run), run)
        averaged.save(out, _notes(trainer, len(task)))
        print(f"{out}: the contrastive model of {run}")


def train_prior_command(
    data: Data,
    run: Run,
    out: Out,
    contrastive: Annotated[Path, typer.Option(help="Folder of the contrastive model.")],
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Steps = None,
    resume: Resume = False,
) -> None:
    """Trains the diffusion prior of unCLIP, from texts to image embeddings, and writes it."""
    import torch

    from core.io.weights import load_weights
    from core.models.unclip.contrastive import ContrastiveModel
    from core.models.unclip.prior import DiffusionPrior
    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.data import ImageData
    from core.training.processes import make_accelerator
    from core.training.tasks.unclip import PriorPreset, PriorTask
    from core.training.trainer import Trainer

    budget = Budget(steps, minutes)
    settings = run_folder.load_training_preset(run, "prior", preset, PriorPreset, resume, "prior")
    kinds = run_data.kinds_in(data, KINDS)
    run_data.check_shards(data, kinds)
    accelerator = make_accelerator()
    texts = ContrastiveModel.load(contrastive, accelerator.device)
    if settings.model.embedding != texts.config.embedding:
        raise UserError(
            f"The preset's prior samples embeddings of width {settings.model.embedding}, but those of the "
            f"model in {contrastive} have {texts.config.embedding}."
        )
    embeddings = run_data.embeddings(data, kinds, run, texts, accelerator)
    task = PriorTask(ImageData(embeddings, run_data.captions(data, accelerator), settings.dropout), texts)
    torch.manual_seed(settings.training.seed)
    trainer = Trainer(settings.model.denoiser(), task, settings.training, run, accelerator)
    run_folder.train(trainer, budget, "prior", settings)
    if accelerator.is_main_process:
        averaged = settings.model.denoiser()
        load_weights(averaged.network, checkpoint.read_ema(run), run)
        DiffusionPrior(settings.model, averaged).save(out, _notes(trainer, len(task)))
        print(f"{out}: the prior of {run}")


def _notes(trainer: "Trainer", images: int) -> dict[str, int]:
    """What the written config tells about the training."""
    samples = trainer.step * trainer.config.batch_size
    return {"images": images, "samples": samples, "seconds": round(trainer.seconds)}
