"""Evaluation of text-to-3D: objects of toybox prompts are compared with the true objects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from rich.table import Table

from core.command_line.printing import make_console, print_table
from core.errors import UserError
from core.io.files.listed import write_listed
from core.io.machine import describe_device, pick_device, single_thread
from core.io.sheet import write_sheet
from core.io.text import count_of
from core.io.weights import load_folder
from core.toybox.captions import articles
from core.toybox.scene_views import SceneView, render_scene_views
from core.toybox.scenes import COLOR_NAMES, Scene, random_scene
from dream3d.meshing.extract import extract_mesh
from dream3d.meshing.mesh import Mesh
from dream3d.meshing.pipeline import SIZE
from dream3d.meshing.preview import render_eight_views
from dream3d.nerf.cameras import ELEVATION, orbit_cameras
from dream3d.nerf.scene_field import SceneField
from dream3d.optimization.oracle import fit_true_views
from dream3d.options import ImageModelReference, ObjectOptions
from dream3d.text_to_3d import PHASE, extract_object, load_model, start_optimization
from dreamlift.evaluation.judge import Judge
from dreamlift.evaluation.mesh_metrics import ObjectMeasures, measure, pictures_for_a_judge
from dreamlift.evaluation.options import REPORT, SHEET

COMPARED = ("model_sha256", "judge_sha256", "options", "true_views")  # of reports of one evaluation
HELD = 3  # every third prompt is of a pair that was never trained on


class JudgeAnswers(BaseModel):
    """Whether the judge's predictions, averaged over all views of one mesh, are correct."""

    subject: bool
    action: bool


class ObjectResult(BaseModel):
    """Measures of one object."""

    prompt: str
    seed: int
    held_out: bool
    measures: ObjectMeasures
    watertight: bool
    largest_piece: float
    color: JudgeAnswers
    shape: JudgeAnswers
    true_color: JudgeAnswers  # of the true object
    true_shape: JudgeAnswers
    seconds: float


class ObjectReport(BaseModel):
    """Report of one evaluation: its options and the measures of all objects."""

    model: str
    model_sha256: str
    judge_sha256: str
    options: ObjectOptions
    true_views: bool = False
    device: str
    processes: int = 1
    items: list[ObjectResult]

    def table(self) -> Table:
        """Means and shares over all objects, as a table for the terminal."""
        table = Table(title=f"{self.model}: {count_of(len(self.items), 'object')}, loss {self.options.loss}")
        for column in ("", "objects", "true objects"):
            table.add_column(column, justify="right" if column else "left")
        items = self.items

        def mean(values: list[float]) -> str:
            return f"{np.mean(values):.3f}"

        table.add_row("silhouette IoU", mean([i.measures.silhouette_iou for i in items]), "1")
        table.add_row("color PSNR, dB", mean([i.measures.psnr for i in items]), "")
        table.add_row(
            "own azimuth nearest in 7 of 8", mean([i.measures.own_azimuths >= 7 for i in items]), "1"
        )
        table.add_row("volume IoU", mean([i.measures.volume_iou for i in items]), "1")
        table.add_row("Chamfer distance", mean([i.measures.chamfer for i in items]), "0")
        for name in ("subject", "action"):
            for kind in ("color", "shape"):
                ours, true = ([getattr(getattr(i, p + kind), name) for i in items] for p in ("", "true_"))
                table.add_row(f"judge: {name} by {kind}", mean(ours), mean(true))
        table.add_row("watertight", mean([i.watertight for i in items]), "")
        table.add_row("largest piece", mean([i.largest_piece for i in items]), "")
        table.add_row("seconds", mean([i.seconds for i in items]), "")
        return table


def prompts(count: int, seed: int) -> list[tuple[Scene, str]]:
    """`count` random scenes, one figure on a plain backdrop, with prompts; every third pair is held out."""
    rng = np.random.default_rng([seed, 33])
    pairs = []
    while len(pairs) < count:
        scene = random_scene(rng, held=len(pairs) % HELD == HELD - 1)
        if not scene.group and scene.place.plain:
            phrase = scene.act.phrases[0].replace("{c}", COLOR_NAMES[scene.color])
            pairs.append((scene, articles(f"a {scene.who.name} {phrase}")))
    return pairs


def true_mesh(scene: Scene) -> Mesh:
    """The true object, meshed like distilled ones at the iso level that best fits its rendered masks."""
    cameras = orbit_cameras(8)
    views = [
        SceneView(scene, PHASE, azimuth, ELEVATION, shadow=False) for azimuth in cameras.azimuth.tolist()
    ]
    return extract_mesh(SceneField(scene, PHASE), cameras, render_scene_views(views, SIZE).alpha > 0.5).mesh


class ObjectEvaluationPlan(NamedTuple):
    """Arguments of an evaluation: `seeds` objects of each of `count` prompts, written into `out`."""

    model: Path
    judge: Path
    out: Path
    options: ObjectOptions
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    seeds: int
    seed: int
    device: str
    true_views: bool = False  # the targets of the x0 loss are renders of the toybox, not model predictions


class ObjectEvaluator:
    """Makes and measures the objects of a plan, one per call."""

    def __init__(self, plan: ObjectEvaluationPlan) -> None:
        """Loads model and judge. Raises UserError for models, judges and devices that cannot be used."""
        device = pick_device(plan.device)
        self.plan = plan
        self.judge = Judge.load(plan.judge, device)
        self.loaded = load_model(ImageModelReference(str(plan.model)), device)
        self.options = self.loaded.settle(plan.options)

    def __call__(self, number: int) -> ObjectResult:
        """Makes and measures object `number`, 0 to count * seeds - 1.

        Also writes a sheet with eight views of the object above those of the true one.
        """
        plan, (index, more) = self.plan, divmod(number, self.plan.seeds)
        seed = plan.seed + more
        scene, prompt = prompts(plan.count, plan.seed)[index]
        truth = true_mesh(scene)
        start = time.perf_counter()
        model, larger = self.loaded.model, self.loaded.super_resolution
        if plan.true_views:
            optimization = fit_true_views(scene, self.options, image_size=model.size, seed=seed, phase=PHASE)
            larger = None  # no model but the field
        else:
            optimization = start_optimization(model, prompt, self.options, seed=seed, bundled=True)
        for _ in optimization:
            pass
        meshed = extract_object(optimization, larger, seed)
        mesh, surface = meshed.mesh, meshed.surface
        seconds = time.perf_counter() - start
        rows = np.concatenate([render_eight_views(mesh), render_eight_views(truth)])
        with write_listed(plan.out / SHEET.format(number)) as draft:
            write_sheet(draft, rows, prompt, columns=8)
        return ObjectResult(
            prompt=prompt,
            seed=seed,
            held_out=scene.held_out,
            measures=measure(mesh, truth),
            watertight=surface.watertight,
            largest_piece=surface.largest_piece,
            color=_answers(self.judge, scene, mesh, False),
            shape=_answers(self.judge, scene, mesh, True),
            true_color=_answers(self.judge, scene, truth, False),
            true_shape=_answers(self.judge, scene, truth, True),
            seconds=round(seconds, 1),
        )


def evaluate_objects(plan: ObjectEvaluationPlan, processes: int = 1, resume: bool = False) -> ObjectReport:
    """Makes and measures the objects of a plan; `processes` > 1 work in parallel, with one thread each.

    report.json is rewritten after every object, so an interrupted run leaves its results.
    resume: keep the objects that such a run has left in the folder, and make the others.

    Raises UserError at the start for models, judges and devices that cannot be used, and where the folder's
    report is of another evaluation.
    """
    evaluator = _worker(plan)
    console = make_console(stderr=True)
    report = ObjectReport(
        model=plan.model.name,
        model_sha256=load_folder(plan.model).sha256,
        judge_sha256=load_folder(plan.judge).sha256,
        options=evaluator.options,
        true_views=plan.true_views,
        device=describe_device(pick_device(plan.device)),
        processes=processes,
        items=[],
    )
    if resume:
        report.items = earlier_items(plan, report)
    for result in _results(plan, processes, len(report.items)):
        report.items.append(result)
        with write_listed(plan.out / REPORT) as draft:
            draft.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        figures = f"silhouette IoU {result.measures.silhouette_iou:.2f}, {result.seconds:.0f} s"
        console.print(f"{result.prompt}: {figures}")
    print_table(make_console(), report.table())
    return report


def earlier_items(plan: ObjectEvaluationPlan, report: ObjectReport) -> list[ObjectResult]:
    """The objects that an interrupted run with the models and options of `report` has left, in order.

    Raises UserError where the folder's report is of another evaluation.
    """
    path = plan.out / REPORT
    if not path.is_file():
        return []
    wanted = [
        (prompt, plan.seed + more)
        for _, prompt in prompts(plan.count, plan.seed)
        for more in range(plan.seeds)
    ]
    with suppress(ValidationError):
        earlier = ObjectReport.model_validate_json(path.read_bytes())
        found = [(item.prompt, item.seed) for item in earlier.items]
        same = all(getattr(earlier, name) == getattr(report, name) for name in COMPARED)
        if same and found == wanted[: len(found)]:
            return earlier.items
    raise UserError(f"{path} is of another evaluation: choose another folder, or leave out --resume.")


def _results(plan: ObjectEvaluationPlan, processes: int, first: int) -> Iterator[ObjectResult]:
    """Results of the objects from number `first` on, in order, computed in this process or in a pool."""
    numbers = range(first, plan.count * plan.seeds)
    if processes == 1:
        yield from (_make(plan, number) for number in numbers)
        return
    with get_context("spawn").Pool(processes, single_thread) as pool:
        yield from pool.imap(partial(_make, plan), numbers)


@lru_cache(maxsize=1)
def _worker(plan: ObjectEvaluationPlan) -> ObjectEvaluator:
    """The evaluator of a plan, loaded once per process."""
    return ObjectEvaluator(plan)


def _make(plan: ObjectEvaluationPlan, number: int) -> ObjectResult:
    """Makes and measures one object with the evaluator of this process."""
    return _worker(plan)(number)


@torch.no_grad()
def _answers(judge: Judge, scene: Scene, mesh: Mesh, textureless: bool) -> JudgeAnswers:
    """Compares the judge's predictions, from the log-probabilities averaged over views, with the scene."""
    logits = judge(pictures_for_a_judge(mesh, textureless).to(next(judge.parameters()).device))
    truth = {"subject": scene.subject, "action": scene.action}
    predicted = {name: int(logits[name].log_softmax(1).mean(0).argmax()) for name in truth}
    return JudgeAnswers(**{name: predicted[name] == label for name, label in truth.items()})
