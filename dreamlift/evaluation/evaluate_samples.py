"""Evaluation of image and video models: samples are scored against renders of the same scenes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from core.bundled import BUNDLED, model_beside
from core.command_line.printing import make_console, print_table
from core.errors import UserError
from core.io.base_model import later_stage
from core.io.files.listed import write_listed
from core.io.machine import describe_device, pick_device
from core.io.pictures import to_frames
from core.io.sheet import write_sheet
from core.io.weights import load_folder
from core.models.image_model import ImageModel
from core.models.super_resolution import SuperResolution
from core.models.unclip.contrastive import ContrastiveModel
from core.models.unclip.unclip_model import UnclipModel, load_native_model
from core.sampling import StepCallback
from core.tiers import tier_context
from core.toybox.dataset import FRAMES
from dreamlift.evaluation.distribution_metrics import frechet_distance, r_precision
from dreamlift.evaluation.faces.detector import EyeDetector
from dreamlift.evaluation.judge import Judge
from dreamlift.evaluation.measuring import (
    CLIP_MEASURES,
    EMBEDDING,
    FLICKER,
    IMAGE_MEASURES,
    EvaluationResult,
    Instruments,
    compare,
    reference_features,
)
from dreamlift.evaluation.options import REPORT, EvaluationOptions
from dreamlift.evaluation.prompt_set import ELEVATION, PromptSet
from dreamlift.evaluation.report import (
    Accuracy,
    LevelComparison,
    Report,
    accuracies,
    level_of,
    sample_items,
    share_of,
)
from video.cascade.distilled import load_student, merged
from video.video_model import VideoModel

BASE = 64  # pixels of the bundled models' pictures without super-resolution


def evaluate_images(options: EvaluationOptions) -> Report:
    """Evaluates an image model; writes report.json, samples.png and renders.png and prints the table.

    Raises UserError for models, judges and devices that cannot be used.
    """
    device = pick_device(options.device)
    model = load_native_model(options.model, device)
    if not options.weak:
        model.weak = None
    evaluation = Evaluation(options, device, model.config.size, contrastive_model(model, options, device))
    prompt_set = PromptSet.draw(options.count, options.held_out, options.seed)
    with _progress(len(prompt_set.batches(options.batch)) * options.steps) as on_step:
        sampler = Sampler(model.sample, options, on_step, evaluation)
        results = evaluation.compare(prompt_set, sampler, clips=False)
    report = evaluation.report("image", prompt_set, results, sampler.seconds)
    report.weak = model.weak is not None
    for name, result in zip(("samples", "renders"), results, strict=True):
        _write_sheet(options, name, result.shown.transpose(0, 1))
    return _publish(report, options)


def evaluate_clips(options: EvaluationOptions) -> Report:
    """Evaluates a video model as `evaluate_images` does, with flicker, motion and sine fits of swings.

    `options.swings` additional clips of swings are sampled, and a sine is fitted to their positions.
    """
    device = pick_device(options.device)
    model = VideoModel.load(options.model, device)
    if options.tier == "draft":
        options = distill(model, options)
    if not options.weak:
        model.weak = None
    evaluation = Evaluation(options, device, model.config.image.size)
    prompt_sets = [PromptSet.draw(options.count, options.held_out, options.seed)]
    if options.swings:
        prompt_sets.append(PromptSet.draw(options.swings, options.held_out, options.seed, swings=True))
    batches = sum(len(prompt_set.batches(options.batch)) for prompt_set in prompt_sets)
    with _progress(batches * options.steps) as on_step:
        sampler = Sampler(partial(model.sample, frames=FRAMES), options, on_step, evaluation)
        results = [evaluation.compare(prompt_set, sampler, clips=True) for prompt_set in prompt_sets]
    report = evaluation.report("video", prompt_sets[0], results[0], sampler.seconds)
    report.weak = model.weak is not None
    plain = torch.tensor([scene.place.plain for scene in prompt_sets[0].scenes])
    if plain.any():
        report.levels[f"{FLICKER}, plain backdrops"] = level_of(results[0], FLICKER, "of 255", plain)
    if options.swings:
        report.swings = options.swings
        report.levels["swings: R^2 of a sine"] = level_of(results[1], "r2", "")
        report.levels["swings: amplitude"] = level_of(results[1], "amplitude", "picture widths")
    for pair, kind in zip(results, ("", "swings-"), strict=False):
        for name, result in zip(("samples", "renders"), pair, strict=True):
            # Each row of the sheet shows every other frame of one clip.
            _write_sheet(options, kind + name, result.shown[:, :, ::2].transpose(0, 1).flatten(1, 2))
    return _publish(report, options)


def contrastive_model(
    model: ImageModel, options: EvaluationOptions, device: torch.device
) -> ContrastiveModel | None:
    """The contrastive model that the options name, or that of an unCLIP model, if there is one."""
    if options.contrastive:
        return ContrastiveModel.load(options.contrastive, device)
    return model.contrastive if isinstance(model, UnclipModel) else None


def distill(model: VideoModel, options: EvaluationOptions) -> EvaluationOptions:
    """Gives a model the weights of the distilled one beside it; returns the options that it has learned.

    Raises UserError where there is none, or one of another model.
    """
    beside = model_beside(options.model, "distilled")
    if not beside:
        raise UserError(f"No distilled model lies beside {options.model}: leave out --tier.")
    config, student = load_student(beside, model.denoiser, load_folder(options.model).sha256)
    model.denoiser = merged(student)
    return options.model_copy(update={"steps": config.steps, "sampler": "ddim", "guidance": 1.0})


class Evaluation:
    """What measures the samples of one model: judge, detector of eyes and super-resolution.

    Raises UserError where the folder of one of them cannot be used.
    """

    def __init__(
        self,
        options: EvaluationOptions,
        device: torch.device,
        drawn: int,
        contrastive: ContrastiveModel | None = None,
    ) -> None:
        """drawn: side of the model's pictures in pixels. contrastive: for R-Precision, of images."""
        self.options, self.device = options, device
        self.enlarger = None
        enlarger = options.super_resolution
        if not enlarger and options.size != drawn:
            enlarger = later_stage(options.model, "super_resolution")
        if enlarger:
            self.enlarger = SuperResolution.load(enlarger, device)
            drawn *= self.enlarger.config.factor
        self.size = options.size or drawn
        self.judge_folder = options.judge or bundled_judge(self.size)
        self.eyes_folder = options.eyes or _if_bundled("eyes")
        detector = EyeDetector.load(self.eyes_folder, device) if self.eyes_folder else None
        self.instruments = Instruments(Judge.load(self.judge_folder, device), detector, contrastive)

    def compare(
        self, prompt_set: PromptSet, sampler: Sampler, clips: bool
    ) -> tuple[EvaluationResult, EvaluationResult]:
        """Results of the samples and of the renders of a prompt set."""
        return compare(prompt_set, sampler, self.instruments, self.options.batch, self.size, clips)

    def report(
        self,
        kind: str,
        prompt_set: PromptSet,
        results: tuple[EvaluationResult, EvaluationResult],
        seconds: float,
    ) -> Report:
        """Report with the accuracies, the levels of all measures, and the labels of every prompt."""
        options = self.options
        levels = {name: level_of(results, name, unit) for name, (_, unit) in IMAGE_MEASURES.items()}
        if kind == "video":
            levels |= {name: level_of(results, name, unit) for name, (_, unit) in CLIP_MEASURES.items()}
        if len(prompt_set) > 1:
            levels |= self._frechet(kind, results)
        return Report(
            kind=kind,
            size=self.size,
            model=str(options.model),
            model_sha256=load_folder(options.model).sha256,
            judge_sha256=load_folder(self.judge_folder).sha256,
            eyes_sha256=load_folder(self.eyes_folder).sha256 if self.eyes_folder else None,
            held_out=options.held_out,
            steps=options.steps,
            sampler=options.sampler,
            guidance=options.guidance,
            tier=options.tier,
            seed=options.seed,
            device=describe_device(self.device),
            seconds=round(seconds, 1),
            accuracy=accuracies(kind, prompt_set, results) | self._r_precision(prompt_set, results),
            levels=levels,
            items=sample_items(prompt_set, results),
        )

    def _r_precision(
        self, prompt_set: PromptSet, results: tuple[EvaluationResult, EvaluationResult]
    ) -> dict[str, Accuracy]:
        """R-Precision of samples and renders among the prompts of the set; empty without a model for it."""
        if not self.instruments.contrastive:
            return {}
        texts = self.instruments.embed_prompts(prompt_set.prompts)
        samples, renders = (
            share_of(r_precision(result.features[EMBEDDING], texts).float()) for result in results
        )
        return {"R-Precision": Accuracy(samples=samples, renders=renders)}

    def _frechet(
        self, kind: str, results: tuple[EvaluationResult, EvaluationResult]
    ) -> dict[str, LevelComparison]:
        """Frechet distances of samples and of renders from the renders of as many other scenes."""
        options = self.options
        others = PromptSet.draw(options.count, options.held_out, options.seed + 1)
        reference = reference_features(others, self.instruments, options.batch, self.size, kind == "video")
        levels: dict[str, LevelComparison] = {}
        for name, features in reference.items():
            samples, renders = (frechet_distance(part.features[name], features) for part in results)
            levels[f"Frechet distance, {name}"] = LevelComparison(unit="", samples=samples, renders=renders)
        return levels


def bundled_judge(size: int) -> Path:
    """Folder of the bundled judge of pictures of that size; that of small ones where there is no other."""
    large = _if_bundled("judge-256") if size > BASE else None
    return large or BUNDLED / "judge"


def _if_bundled(name: str) -> Path | None:
    """Folder of bundled weights, if they exist."""
    return BUNDLED / name if (BUNDLED / name).is_dir() else None


class Sampler:
    """Samples rows of a prompt set with a model's `sample`; `seconds` is the total sampling time."""

    def __init__(
        self,
        sample: Callable[..., Tensor],
        options: EvaluationOptions,
        on_step: StepCallback,
        evaluation: Evaluation,
    ) -> None:
        """sample: the method of an image or video model. on_step: called after every sampling step.

        evaluation: its super-resolution enlarges the samples.
        """
        self.sample, self.options, self.on_step, self.evaluation = sample, options, on_step, evaluation
        self.seconds = 0.0

    def __call__(self, prompt_set: PromptSet, rows: slice) -> Tensor:
        """Samples (B,3,H,W) or (B,3,F,H,W) in [-1, 1] of these rows, on the CPU."""
        start = time.perf_counter()
        with tier_context(self.options.tier, self.evaluation.device):
            samples = self.sample(
                prompt_set.prompts[rows],
                steps=self.options.steps,
                sampler=self.options.sampler,
                guidance=self.options.guidance,
                seeds=prompt_set.seeds[rows],
                azimuth=prompt_set.azimuth[rows],
                elevation=ELEVATION,
                phase=prompt_set.phase[rows],
                shadow=True,
                on_step=self.on_step,
            )
            if self.evaluation.enlarger:
                samples = self._enlarge(samples, self.evaluation.enlarger, prompt_set.seeds[rows])
        samples = samples.float().cpu()
        self.seconds += time.perf_counter() - start
        return samples

    def _enlarge(self, samples: Tensor, enlarger: SuperResolution, seeds: list[int]) -> Tensor:
        """The samples at the super-resolution model's size; all frames of a clip share a seed."""
        if samples.ndim == 4:
            return enlarger.sample(samples, seeds)
        frames = samples.transpose(1, 2)
        shared = [seed for seed in seeds for _ in range(frames.shape[1])]
        return enlarger.sample(frames.flatten(0, 1), shared).unflatten(0, frames.shape[:2]).transpose(1, 2)


def _write_sheet(options: EvaluationOptions, name: str, pictures: Tensor) -> None:
    """Writes a contact sheet of pictures (3,N,H,W) in [-1, 1]."""
    pairs = "held-out" if options.held_out else "trained"
    title = f"{options.model.name} model, {pairs} pairs: {name}"
    with write_listed(options.out / f"{name}.png") as draft:
        write_sheet(draft, to_frames(pictures.numpy()), title)


def _publish(report: Report, options: EvaluationOptions) -> Report:
    """Writes report.json, prints the table and returns the report."""
    report.write(options.out / REPORT)
    print_table(make_console(), report.table())
    print(f"{options.out}: {REPORT} and sheets of samples and renders")
    return report


@contextmanager
def _progress(steps: int):
    """Context manager of a progress bar with the time left; yields the callback for each sampling step."""
    columns = TextColumn("sampling"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=make_console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=steps)
        yield lambda state: progress.advance(task)
