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

from core.io.machine import describe, pick_device
from core.io.pictures import to_frames
from core.io.sheet import write_sheet
from core.io.weights import load_folder
from core.models.image_model import ImageModel, OnState
from core.toybox.dataset import FRAMES
from dreamlift.evaluation.judge import LABELS, Judge
from dreamlift.evaluation.prompt_set import ELEVATION, Exam, as_seen, judge_clips, judge_images
from dreamlift.evaluation.report import Accuracy, Item, Level, Report, score
from dreamlift.evaluation.request import Request
from dreamlift.evaluation.video_metrics import flicker, horizontal_position, motion, sine_fit, unsteadiness
from video.video_model import VideoModel

SHOWN_IMAGES, SHOWN_CLIPS = 32, 8  # on the sheets
MEASURES = {"flicker outside the figure": flicker, "unsteadiness": unsteadiness, "motion inside": motion}

Sample = Callable[[Exam, slice], Tensor]  # those rows of an exam, drawn in [-1, 1]


@dataclass
class Findings:
    """Of N samples and renders: chosen labels and measures by name, each (N,), and the first few pictures."""

    labels: dict[str, Tensor]
    measures: dict[str, Tensor]
    shown: Tensor

    @classmethod
    def cat(cls, parts: list[Findings], shown: int) -> Findings:
        labels = {name: torch.cat([part.labels[name] for part in parts]) for name in parts[0].labels}
        measures = {name: torch.cat([part.measures[name] for part in parts]) for name in parts[0].measures}
        return cls(labels, measures, torch.cat([part.shown for part in parts])[:shown])


def look_at_images(judge: Judge, images: Tensor) -> Findings:
    return Findings(judge_images(judge, images), {}, images)


def look_at_clips(judge: Judge, clips: Tensor) -> Findings:
    measures = {name: measure(clips) for name, measure in MEASURES.items()}
    fit = sine_fit(horizontal_position(clips))
    return Findings(judge_clips(judge, clips), {**measures, "r2": fit.r2, "amplitude": fit.amplitude}, clips)


def compare(
    exam: Exam, sample: Sample, judge: Judge, batch: int, size: int, clips: bool
) -> tuple[Findings, Findings]:
    """What is found in samples and in renders of the exam, `size` pixels square."""
    look, shown = (look_at_clips, SHOWN_CLIPS) if clips else (look_at_images, SHOWN_IMAGES)
    drawn, rendered = [], []
    for number, rows in enumerate(exam.batches(batch)):
        both = as_seen(sample(exam, rows)), exam.renders(rows, size, clips)
        for found, pictures in zip((drawn, rendered), both, strict=True):
            part = look(judge, pictures)
            part.shown = part.shown[: max(0, shown - number * batch)]
            found.append(part)
    return Findings.cat(drawn, shown), Findings.cat(rendered, shown)


def evaluate_images(request: Request) -> Report:
    """Writes report.json, samples.png and renders.png; prints the table. Raises UserError for bad input."""
    device = pick_device(request.device)
    judge, model = Judge.load(request.judge, device), ImageModel.load(request.model, device)
    exam = Exam.draw(request.count, request.held_out, request.seed)
    with _progress(len(exam.batches(request.batch)) * request.steps) as on_state:
        sampler = Sampler(model.sample, request, on_state)
        found = compare(exam, sampler, judge, request.batch, model.config.size, clips=False)
    report = _report("image", request, device, exam, found, sampler.seconds)
    for name, findings in zip(("samples", "renders"), found, strict=True):
        _write_sheet(request, name, findings.shown.transpose(0, 1))
    return _publish(report, request)


def evaluate_clips(request: Request) -> Report:
    """The same for clips, with flicker and motion, and a sine fitted to `request.swings` swings."""
    device = pick_device(request.device)
    judge, model = Judge.load(request.judge, device), VideoModel.load(request.model, device)
    exams = [Exam.draw(request.count, request.held_out, request.seed)]
    if request.swings:
        exams.append(Exam.draw(request.swings, request.held_out, request.seed, swings=True))
    size = model.config.image.size
    with _progress(sum(len(exam.batches(request.batch)) for exam in exams) * request.steps) as on_state:
        sampler = Sampler(partial(model.sample, frames=FRAMES), request, on_state)
        found = [compare(exam, sampler, judge, request.batch, size, clips=True) for exam in exams]
    report = _report("video", request, device, exams[0], found[0], sampler.seconds)
    report.levels = {name: _level(found[0], name, "of 255") for name in MEASURES}
    plain = torch.tensor([scene.place.plain for scene in exams[0].scenes])
    if plain.any():
        name = next(iter(MEASURES))
        report.levels[f"{name}, plain backdrops"] = _level(found[0], name, "of 255", plain)
    if request.swings:
        report.swings = request.swings
        report.levels["swings: R^2 of a sine"] = _level(found[1], "r2", "")
        report.levels["swings: amplitude"] = _level(found[1], "amplitude", "picture widths")
    for parts, kind in zip(found, ("", "swings-"), strict=False):
        for name, findings in zip(("samples", "renders"), parts, strict=True):
            # Every other frame of eight clips: a row of the sheet is a clip.
            _write_sheet(request, kind + name, findings.shown[:, :, ::2].transpose(0, 1).flatten(1, 2))
    return _publish(report, request)


class Sampler:
    """Draws rows of an exam as requested, by a model's `sample`; knows the seconds it took in all."""

    def __init__(self, sample: Callable[..., Tensor], request: Request, on_state: OnState) -> None:
        self.sample, self.request, self.on_state = sample, request, on_state
        self.seconds = 0.0

    def __call__(self, exam: Exam, rows: slice) -> Tensor:
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
            on_state=self.on_state,
        ).cpu()
        self.seconds += time.perf_counter() - began
        return drawn


def _report(
    kind: str,
    request: Request,
    device: torch.device,
    exam: Exam,
    found: tuple[Findings, Findings],
    seconds: float,
) -> Report:
    samples, renders = found
    truth = exam.truth()
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
        Item(
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
        device=describe(device),
        seconds=round(seconds, 1),
        accuracy=accuracy,
        items=items,
    )


def _word(head: str, label: int) -> str:
    words = LABELS["action" if head == "motion" else head]
    return words[label] if 0 <= label < len(words) else "none"


def _level(found: tuple[Findings, Findings], name: str, unit: str, rows: Tensor | None = None) -> Level:
    samples, renders = (
        (part.measures[name] if rows is None else part.measures[name][rows]).mean().item() for part in found
    )
    return Level(unit=unit, samples=samples, renders=renders)


def _write_sheet(request: Request, name: str, pictures: Tensor) -> None:
    """pictures: (3,N,H,W) in [-1, 1]."""
    pairs = "held-out" if request.held_out else "trained"
    title = f"{request.model.name} model, {pairs} pairs: {name}"
    write_sheet(request.out / f"{name}.png", to_frames(pictures.numpy()), title)


def _publish(report: Report, request: Request) -> Report:
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
