"""Evaluation of image and video models: samples are scored against renders of the same scenes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from core.io.machine import describe_device, pick_device
from core.io.pictures import to_frames
from core.io.sheet import write_sheet
from core.io.weights import load_folder
from core.models.image_model import ImageModel
from core.sampling import StepCallback
from core.toybox.dataset import FRAMES
from dreamlift.evaluation.judge import LABELS, Judge
from dreamlift.evaluation.options import EvaluationOptions
from dreamlift.evaluation.prompt_set import ELEVATION, PromptSet, judge_clips, judge_images, quantize_8bit
from dreamlift.evaluation.report import Accuracy, LevelComparison, Report, SampleReport, score
from dreamlift.evaluation.video_metrics import flicker, horizontal_position, motion, sine_fit, unsteadiness
from video.video_model import VideoModel

SHOWN_IMAGES, SHOWN_CLIPS = 32, 8  # number of samples on the contact sheets
MEASURES = {"flicker outside the figure": flicker, "unsteadiness": unsteadiness, "motion inside": motion}

Sample = Callable[[PromptSet, slice], Tensor]  # samples of these rows of a prompt set, in [-1, 1]


@dataclass
class EvaluationResult:
    """Labels and measures of N samples or renders, by name, each (N,), and the first few pictures."""

    labels: dict[str, Tensor]
    measures: dict[str, Tensor]
    shown: Tensor

    @classmethod
    def cat(cls, parts: list[EvaluationResult], shown: int) -> EvaluationResult:
        """Concatenates the results of consecutive batches; at most `shown` pictures remain."""
        labels = {name: torch.cat([part.labels[name] for part in parts]) for name in parts[0].labels}
        measures = {name: torch.cat([part.measures[name] for part in parts]) for name in parts[0].measures}
        return cls(labels, measures, torch.cat([part.shown for part in parts])[:shown])


def measure_images(judge: Judge, images: Tensor) -> EvaluationResult:
    """Predicted labels of images (B,3,H,W) in [-1, 1]."""
    return EvaluationResult(judge_images(judge, images), {}, images)


def measure_clips(judge: Judge, clips: Tensor) -> EvaluationResult:
    """Predicted labels, motion measures and sine fit of clips (B,3,F,H,W) in [-1, 1]."""
    measures = {name: measure(clips) for name, measure in MEASURES.items()}
    fit = sine_fit(horizontal_position(clips))
    return EvaluationResult(
        judge_clips(judge, clips), {**measures, "r2": fit.r2, "amplitude": fit.amplitude}, clips
    )


def compare(
    prompt_set: PromptSet, sample: Sample, judge: Judge, batch: int, size: int, clips: bool
) -> tuple[EvaluationResult, EvaluationResult]:
    """Results of the samples and of the renders of a prompt set, both `size` x `size` pixels."""
    evaluate, shown = (measure_clips, SHOWN_CLIPS) if clips else (measure_images, SHOWN_IMAGES)
    of_samples, of_renders = [], []
    for number, rows in enumerate(prompt_set.batches(batch)):
        both = quantize_8bit(sample(prompt_set, rows)), prompt_set.renders(rows, size, clips)
        for results, pictures in zip((of_samples, of_renders), both, strict=True):
            part = evaluate(judge, pictures)
            part.shown = part.shown[: max(0, shown - number * batch)]
            results.append(part)
    return EvaluationResult.cat(of_samples, shown), EvaluationResult.cat(of_renders, shown)


def evaluate_images(options: EvaluationOptions) -> Report:
    """Evaluates an image model; writes report.json, samples.png and renders.png and prints the table.

    Raises UserError for models, judges and devices that cannot be used.
    """
    device = pick_device(options.device)
    judge, model = Judge.load(options.judge, device), ImageModel.load(options.model, device)
    prompt_set = PromptSet.draw(options.count, options.held_out, options.seed)
    with _progress(len(prompt_set.batches(options.batch)) * options.steps) as on_step:
        sampler = Sampler(model.sample, options, on_step)
        results = compare(prompt_set, sampler, judge, options.batch, model.config.size, clips=False)
    report = _report("image", options, device, prompt_set, results, sampler.seconds)
    for name, result in zip(("samples", "renders"), results, strict=True):
        _write_sheet(options, name, result.shown.transpose(0, 1))
    return _publish(report, options)


def evaluate_clips(options: EvaluationOptions) -> Report:
    """Evaluates a video model as `evaluate_images` does, with flicker, motion and sine fits of swings.

    `options.swings` additional clips of swings are sampled, and a sine is fitted to their positions.
    """
    device = pick_device(options.device)
    judge, model = Judge.load(options.judge, device), VideoModel.load(options.model, device)
    prompt_sets = [PromptSet.draw(options.count, options.held_out, options.seed)]
    if options.swings:
        prompt_sets.append(PromptSet.draw(options.swings, options.held_out, options.seed, swings=True))
    size = model.config.image.size
    batches = sum(len(prompt_set.batches(options.batch)) for prompt_set in prompt_sets)
    with _progress(batches * options.steps) as on_step:
        sampler = Sampler(partial(model.sample, frames=FRAMES), options, on_step)
        results = [
            compare(prompt_set, sampler, judge, options.batch, size, clips=True) for prompt_set in prompt_sets
        ]
    report = _report("video", options, device, prompt_sets[0], results[0], sampler.seconds)
    report.levels = {name: _level(results[0], name, "of 255") for name in MEASURES}
    plain = torch.tensor([scene.place.plain for scene in prompt_sets[0].scenes])
    if plain.any():
        name = next(iter(MEASURES))
        report.levels[f"{name}, plain backdrops"] = _level(results[0], name, "of 255", plain)
    if options.swings:
        report.swings = options.swings
        report.levels["swings: R^2 of a sine"] = _level(results[1], "r2", "")
        report.levels["swings: amplitude"] = _level(results[1], "amplitude", "picture widths")
    for pair, kind in zip(results, ("", "swings-"), strict=False):
        for name, result in zip(("samples", "renders"), pair, strict=True):
            # Each row of the sheet shows every other frame of one clip.
            _write_sheet(options, kind + name, result.shown[:, :, ::2].transpose(0, 1).flatten(1, 2))
    return _publish(report, options)


class Sampler:
    """Samples rows of a prompt set with a model's `sample`; `seconds` is the total sampling time."""

    def __init__(
        self, sample: Callable[..., Tensor], options: EvaluationOptions, on_step: StepCallback
    ) -> None:
        """sample: the method of an image or video model. on_step: called after every sampling step."""
        self.sample, self.options, self.on_step = sample, options, on_step
        self.seconds = 0.0

    def __call__(self, prompt_set: PromptSet, rows: slice) -> Tensor:
        """Samples (B,3,H,W) or (B,3,F,H,W) in [-1, 1] of these rows, on the CPU."""
        start = time.perf_counter()
        samples = self.sample(
            prompt_set.prompts[rows],
            steps=self.options.steps,
            guidance=self.options.guidance,
            seeds=prompt_set.seeds[rows],
            azimuth=prompt_set.azimuth[rows],
            elevation=ELEVATION,
            phase=prompt_set.phase[rows],
            shadow=True,
            on_step=self.on_step,
        ).cpu()
        self.seconds += time.perf_counter() - start
        return samples


def _report(
    kind: str,
    options: EvaluationOptions,
    device: torch.device,
    prompt_set: PromptSet,
    results: tuple[EvaluationResult, EvaluationResult],
    seconds: float,
) -> Report:
    """Report with the accuracies and the labels of every prompt; the levels are still empty."""
    samples, renders = results
    truth = prompt_set.true_labels()
    accuracy: dict[str, Accuracy] = {}
    names = {"action, by motion alone": "motion"} if kind == "video" else {}
    for title, name in (names | {name: name for name in LABELS}).items():
        scored = score(
            truth["action" if name == "motion" else name], samples.labels[name], renders.labels[name]
        )
        if scored:
            accuracy[title] = scored

    def words(labels: dict[str, Tensor], row: int) -> dict[str, str]:
        return {name: _word(name, int(values[row])) for name, values in labels.items()}

    items = [
        SampleReport(
            prompt=prompt,
            seed=prompt_set.seeds[row],
            azimuth=round(prompt_set.azimuth[row].item(), 1),
            phase=round(prompt_set.phase[row].item(), 3),
            truth=words(truth, row),
            sample=words(samples.labels, row),
            render=words(renders.labels, row),
        )
        for row, prompt in enumerate(prompt_set.prompts)
    ]
    return Report(
        kind=kind,
        model=str(options.model),
        model_sha256=load_folder(options.model).sha256,
        judge_sha256=load_folder(options.judge).sha256,
        held_out=options.held_out,
        steps=options.steps,
        guidance=options.guidance,
        seed=options.seed,
        device=describe_device(device),
        seconds=round(seconds, 1),
        accuracy=accuracy,
        items=items,
    )


def _word(head: str, label: int) -> str:
    """Name of a label, "none" where there is none."""
    words = LABELS["action" if head == "motion" else head]
    return words[label] if 0 <= label < len(words) else "none"


def _level(
    results: tuple[EvaluationResult, EvaluationResult], name: str, unit: str, rows: Tensor | None = None
) -> LevelComparison:
    """Means of one measure over samples and renders, over all rows or those of a mask (N,)."""
    samples, renders = (
        (part.measures[name] if rows is None else part.measures[name][rows]).mean().item() for part in results
    )
    return LevelComparison(unit=unit, samples=samples, renders=renders)


def _write_sheet(options: EvaluationOptions, name: str, pictures: Tensor) -> None:
    """Writes a contact sheet of pictures (3,N,H,W) in [-1, 1]."""
    pairs = "held-out" if options.held_out else "trained"
    title = f"{options.model.name} model, {pairs} pairs: {name}"
    write_sheet(options.out / f"{name}.png", to_frames(pictures.numpy()), title)


def _publish(report: Report, options: EvaluationOptions) -> Report:
    """Writes report.json, prints the table and returns the report."""
    report.write(options.out / "report.json")
    Console().print(report.table())
    print(f"{options.out}: report.json and sheets of samples and renders")
    return report


@contextmanager
def _progress(steps: int):
    """Context manager of a progress bar with the time left; yields the callback for each sampling step."""
    columns = TextColumn("sampling"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=steps)
        yield lambda state: progress.advance(task)
