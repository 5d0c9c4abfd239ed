"""Runs an exam: judges and measures samples and the renders of the very same, and writes what came out."""

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
from core.models.image_model import ImageModel, StepCallback
from core.toybox.dataset import FRAMES
from dreamlift.evaluation.judge import LABELS, Judge
from dreamlift.evaluation.options import EvaluationOptions
from dreamlift.evaluation.prompt_set import ELEVATION, PromptSet, judge_clips, judge_images, quantize_8bit
from dreamlift.evaluation.report import Accuracy, LevelComparison, Report, SampleReport, score
from dreamlift.evaluation.video_metrics import flicker, horizontal_position, motion, sine_fit, unsteadiness
from video.video_model import VideoModel

SHOWN_IMAGES, SHOWN_CLIPS = 32, 8  # on the sheets
MEASURES = {"flicker outside the figure": flicker, "unsteadiness": unsteadiness, "motion inside": motion}

Sample = Callable[[PromptSet, slice], Tensor]  # those rows of an exam, drawn in [-1, 1]


@dataclass
class EvaluationResult:
    """Of N samples and renders: chosen labels and measures by name, each (N,), and the first few pictures."""

    labels: dict[str, Tensor]
    measures: dict[str, Tensor]
    shown: Tensor

    @classmethod
    def cat(cls, parts: list[EvaluationResult], shown: int) -> EvaluationResult:
        labels = {name: torch.cat([part.labels[name] for part in parts]) for name in parts[0].labels}
        measures = {name: torch.cat([part.measures[name] for part in parts]) for name in parts[0].measures}
        return cls(labels, measures, torch.cat([part.shown for part in parts])[:shown])


def measure_images(judge: Judge, images: Tensor) -> EvaluationResult:
    return EvaluationResult(judge_images(judge, images), {}, images)


def measure_clips(judge: Judge, clips: Tensor) -> EvaluationResult:
    measures = {name: measure(clips) for name, measure in MEASURES.items()}
    fit = sine_fit(horizontal_position(clips))
    return EvaluationResult(
        judge_clips(judge, clips), {**measures, "r2": fit.r2, "amplitude": fit.amplitude}, clips
    )


def compare(
    prompt_set: PromptSet, sample: Sample, judge: Judge, batch: int, size: int, clips: bool
) -> tuple[EvaluationResult, EvaluationResult]:
    """What is found in samples and in renders of the exam, `size` pixels square."""
    look, shown = (measure_clips, SHOWN_CLIPS) if clips else (measure_images, SHOWN_IMAGES)
    drawn, rendered = [], []
    for number, rows in enumerate(prompt_set.batches(batch)):
        both = quantize_8bit(sample(prompt_set, rows)), prompt_set.renders(rows, size, clips)
        for found, pictures in zip((drawn, rendered), both, strict=True):
            part = look(judge, pictures)
            part.shown = part.shown[: max(0, shown - number * batch)]
            found.append(part)
    return EvaluationResult.cat(drawn, shown), EvaluationResult.cat(rendered, shown)


def evaluate_images(options: EvaluationOptions) -> Report:
    """Writes report.json, samples.png and renders.png; prints the table. Raises UserError for bad input."""
    device = pick_device(options.device)
    judge, model = Judge.load(options.judge, device), ImageModel.load(options.model, device)
    exam = PromptSet.draw(options.count, options.held_out, options.seed)
    with _progress(len(exam.batches(options.batch)) * options.steps) as on_step:
        sampler = Sampler(model.sample, options, on_step)
        found = compare(exam, sampler, judge, options.batch, model.config.size, clips=False)
    report = _report("image", options, device, exam, found, sampler.seconds)
    for name, findings in zip(("samples", "renders"), found, strict=True):
        _write_sheet(options, name, findings.shown.transpose(0, 1))
    return _publish(report, options)


def evaluate_clips(options: EvaluationOptions) -> Report:
    """The same for clips, with flicker and motion, and a sine fitted to `request.swings` swings."""
    device = pick_device(options.device)
    judge, model = Judge.load(options.judge, device), VideoModel.load(options.model, device)
    exams = [PromptSet.draw(options.count, options.held_out, options.seed)]
    if options.swings:
        exams.append(PromptSet.draw(options.swings, options.held_out, options.seed, swings=True))
    size = model.config.image.size
    with _progress(sum(len(exam.batches(options.batch)) for exam in exams) * options.steps) as on_step:
        sampler = Sampler(partial(model.sample, frames=FRAMES), options, on_step)
        found = [compare(exam, sampler, judge, options.batch, size, clips=True) for exam in exams]
    report = _report("video", options, device, exams[0], found[0], sampler.seconds)
    report.levels = {name: _level(found[0], name, "of 255") for name in MEASURES}
    plain = torch.tensor([scene.place.plain for scene in exams[0].scenes])
    if plain.any():
        name = next(iter(MEASURES))
        report.levels[f"{name}, plain backdrops"] = _level(found[0], name, "of 255", plain)
    if options.swings:
        report.swings = options.swings
        report.levels["swings: R^2 of a sine"] = _level(found[1], "r2", "")
        report.levels["swings: amplitude"] = _level(found[1], "amplitude", "picture widths")
    for parts, kind in zip(found, ("", "swings-"), strict=False):
        for name, findings in zip(("samples", "renders"), parts, strict=True):
            # Every other frame of eight clips: a row of the sheet is a clip.
            _write_sheet(options, kind + name, findings.shown[:, :, ::2].transpose(0, 1).flatten(1, 2))
    return _publish(report, options)


class Sampler:
    """Draws rows of an exam as requested, by a model's `sample`; knows the seconds it took in all."""

    def __init__(
        self, sample: Callable[..., Tensor], request: EvaluationOptions, on_step: StepCallback
    ) -> None:
        self.sample, self.request, self.on_step = sample, request, on_step
        self.seconds = 0.0

    def __call__(self, exam: PromptSet, rows: slice) -> Tensor:
        began = time.perf_counter()
        drawn = self.sample(
            exam.prompts[rows],
            steps=self.request.steps,
            guidance=self.request.guidance,
            seeds=exam.seeds[rows],
            azimuth=exam.azimuth[rows],
            elevation=ELEVATION,
            phase=exam.phase[rows],
            shadow=True,
            on_step=self.on_step,
        ).cpu()
        self.seconds += time.perf_counter() - began
        return drawn


def _report(
    kind: str,
    request: EvaluationOptions,
    device: torch.device,
    exam: PromptSet,
    found: tuple[EvaluationResult, EvaluationResult],
    seconds: float,
) -> Report:
    samples, renders = found
    truth = exam.true_labels()
    accuracy: dict[str, Accuracy] = {}
    names = {"action, by motion alone": "motion"} if kind == "video" else {}
    for title, name in (names | {name: name for name in LABELS}).items():
        scored = score(
            truth["action" if name == "motion" else name], samples.labels[name], renders.labels[name]
        )
        if scored:
            accuracy[title] = scored

    def said(labels: dict[str, Tensor], row: int) -> dict[str, str]:
        return {name: _word(name, int(values[row])) for name, values in labels.items()}

    items = [
        SampleReport(
            prompt=prompt,
            seed=exam.seeds[row],
            azimuth=round(exam.azimuth[row].item(), 1),
            phase=round(exam.phase[row].item(), 3),
            truth=said(truth, row),
            sample=said(samples.labels, row),
            render=said(renders.labels, row),
        )
        for row, prompt in enumerate(exam.prompts)
    ]
    return Report(
        kind=kind,
        model=str(request.model),
        model_sha256=load_folder(request.model).sha256,
        judge_sha256=load_folder(request.judge).sha256,
        held_out=request.held_out,
        steps=request.steps,
        guidance=request.guidance,
        seed=request.seed,
        device=describe_device(device),
        seconds=round(seconds, 1),
        accuracy=accuracy,
        items=items,
    )


def _word(head: str, label: int) -> str:
    words = LABELS["action" if head == "motion" else head]
    return words[label] if 0 <= label < len(words) else "none"


def _level(
    found: tuple[EvaluationResult, EvaluationResult], name: str, unit: str, rows: Tensor | None = None
) -> LevelComparison:
    samples, renders = (
        (part.measures[name] if rows is None else part.measures[name][rows]).mean().item() for part in found
    )
    return LevelComparison(unit=unit, samples=samples, renders=renders)


def _write_sheet(request: EvaluationOptions, name: str, pictures: Tensor) -> None:
    """pictures: (3,N,H,W) in [-1, 1]."""
    pairs = "held-out" if request.held_out else "trained"
    title = f"{request.model.name} model, {pairs} pairs: {name}"
    write_sheet(request.out / f"{name}.png", to_frames(pictures.numpy()), title)


def _publish(report: Report, request: EvaluationOptions) -> Report:
    report.write(request.out / "report.json")
    Console().print(report.table())
    print(f"{request.out}: report.json and sheets of samples and renders")
    return report


@contextmanager
def _progress(steps: int):
    """Within: what to call after each sampling step, for a bar with the time left."""
    columns = TextColumn("sampling"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=steps)
        yield lambda state: progress.advance(task)
