"""What the training commands let a user watch: validation, sample sheets, curves and trackers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import UserError
from dreamlift.commands.training import run_folder

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

    from core.diffusion.denoiser import Denoiser
    from core.models.image_model import ImageModelConfig
    from core.training.config import Budget
    from core.training.contracts import Drawn, Monitor
    from core.training.tasks.images import ImagePreset
    from core.training.trainer import Trainer
    from video.training.clips import VideoPreset

Samples = Annotated[
    list[str] | None,
    typer.Option(
        "--sample",
        help="A prompt that is drawn every monitoring.sample_steps (repeatable).",
        show_default="captions that are held back",
    ),
]
Track = Annotated[
    str | None, typer.Option(help="Log to tensorboard or wandb as well.", show_default="log.jsonl alone")
]


def check(prompts: Sequence[str] | None, tracker: str | None) -> None:
    """Raises UserError for an empty prompt, and for a tracker that is unknown or not installed."""
    from core.training.monitoring.trackers import check_tracker

    if prompts and not all(prompt.strip() for prompt in prompts):
        raise UserError("A prompt of --sample is empty.")
    check_tracker(tracker)


def refuse(prompts: Sequence[str] | None, tracker: str | None) -> None:
    """Raises UserError for options of watching, which the training on checkpoints has not."""
    if prompts or tracker:
        option = "--sample" if prompts else "--track"
        raise UserError(f"{option} is for models of this project, not for checkpoints: leave it out.")


def monitors(
    run: Path,
    preset: "ImagePreset | VideoPreset",
    accelerator: "Accelerator",
    denoiser: "Denoiser",
    sample: "Callable[[Denoiser], Callable[..., Tensor]]",
    validating: "Drawn | None",
    prompts: Sequence[str],
) -> "list[Monitor]":
    """What watches a run.

    sample: the method of a denoiser's complete model that samples prompts.
    validating: the task of what is held back, if anything is. prompts: may be empty.
    """
    from core.training.monitoring.samples import STEPS, SampleSheets
    from core.training.monitoring.validation import Validation

    training, watched = preset.training, preset.monitoring
    found: list[Monitor] = []
    if validating:
        steps, batch, seed = watched.validation_steps, training.batch_size, training.seed
        found.append(Validation(denoiser, validating, accelerator, steps, batch, seed))

    def draw(network: "nn.Module", prompts: Sequence[str], seeds: Sequence[int]) -> "Tensor":
        return sample(denoiser.with_network(network))(prompts, steps=STEPS, seeds=seeds)

    if prompts:
        enabled = accelerator.is_main_process
        found.append(SampleSheets(run, draw, prompts, watched.sample_steps, enabled))
    return found


def guidance(model: "ImageModelConfig") -> dict[str, float]:
    """Options of sampling: the usual guidance, or none for a model that was never trained without text."""
    return {} if model.unconditional else {"guidance": 1.0}


def prompts_of(data: Path, held: "Tensor") -> list[str]:
    """Some of the captions that are held back, by their lines; none where nothing is."""
    from core.training.data import CAPTIONS
    from core.training.monitoring.samples import held_prompts

    lines = (data / CAPTIONS).read_text(encoding="utf-8").splitlines()
    return held_prompts([lines[line] for line in held.tolist()])


def train(trainer: "Trainer", budget: "Budget", kind: str, preset: "ImagePreset | VideoPreset") -> None:
    """Trains, and tells trackers and the user."""
    from core.training.monitoring.trackers import tracking

    settings = preset.model_dump(mode="json")
    with tracking(trainer.accelerator, trainer.folder, trainer.step, settings):
        run_folder.train(trainer, budget, kind, preset)
