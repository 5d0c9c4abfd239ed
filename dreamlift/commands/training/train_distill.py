"""`dreamlift train distill`: progressive distillation of a video model to few steps."""

from pathlib import Path
from typing import Annotated

import typer

from core.errors import UserError
from core.io.text import count_of
from dreamlift.commands.training import run_data, run_folder
from dreamlift.commands.training.train import Data, Minutes, PresetName, Resume, Run


def train_distill_command(
    data: Data,
    run: Run,
    out: Annotated[Path, typer.Option(help="Output folder: config.json, model.safetensors.")],
    model: Annotated[Path, typer.Option(help="Folder of the video model.")],
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a distilled model with twice the steps.", show_default="the video model"
        ),
    ] = None,
    sampling_steps: Annotated[
        int | None, typer.Option(help="Steps of the student.", show_default="the preset's")
    ] = None,
    preset: PresetName = None,
    minutes: Minutes = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    resume: Resume = False,
) -> None:
    """Distills a video model to few steps, which need no guidance, and writes what has changed."""
    import torch

    from core.attributes import encode_attributes
    from core.condition import Condition
    from core.io.atomic import writable_folder
    from core.training import checkpoint
    from core.training.config import Budget
    from core.training.processes import make_accelerator
    from core.training.trainer import Trainer
    from video.cascade.distilled import load_student, merged, save_student
    from video.record import read_model_record
    from video.training.clips import ClipData
    from video.training.distillation import DistillationPreset, DistillationTask
    from video.video_model import VideoModel

    budget = Budget(steps, minutes)
    writable_folder(out)
    run_data.check_shards(data, ["clips"])
    run_folder.check_folders(model, teacher)
    settings = run_folder.load_training_preset(
        run, "distilled", preset, DistillationPreset, resume, default="distilled"
    )
    accelerator = make_accelerator()
    video = VideoModel.load(model, accelerator.device)  # both networks: the student is changes of its weights
    sha256 = read_model_record(model).sha256
    config = settings.model.model_copy(update={"teacher": sha256})
    if sampling_steps:
        config = config.model_copy(update={"steps": sampling_steps})
    student = config.student(video.denoiser)
    guided = video.denoiser
    if teacher:
        before, earlier = load_student(teacher, video.denoiser, sha256)
        if (before.steps, before.rank) != (2 * config.steps, config.rank):
            raise UserError(
                f"The teacher takes {count_of(before.steps, 'step')} with changes of rank {before.rank}: its "
                "student needs half as many steps and the same rank."
            )
        student.network.load_state_dict(earlier.network.state_dict())
        guided = merged(earlier)
    (clips,) = run_data.shards(data, ["clips"], accelerator, video.first_stage)
    captions = run_data.captions(data, accelerator)
    negative = None if teacher else Condition(*video.text([""]), encode_attributes(1))
    started, settings = settings, settings.model_copy(update={"model": config})
    task = DistillationTask(
        ClipData(clips, captions, settings.dropout, settings.frames, (1,)),
        settings,
        guided,
        negative,
        video.config.noise_share,
        video.weak,
    )
    torch.manual_seed(settings.training.seed)
    trainer = Trainer(student, task, settings.training, run, accelerator)
    run_folder.train(trainer, budget, "distilled", started)
    if accelerator.is_main_process:
        samples = trainer.step * settings.training.batch_size
        notes = {"clips": len(task), "samples": samples, "seconds": round(trainer.seconds)}
        save_student(out, config, checkpoint.read_ema(run), notes)
        print(f"{out}: {count_of(config.steps, 'step')} in place of those of {model}")
