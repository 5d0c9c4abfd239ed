"""`dreamlift evaluate object`: objects of toybox prompts against the true ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from core.io.atomic import atomic_write
from core.io.machine import describe_device, pick_device, single_thread
from core.io.sheet import write_sheet
from core.io.weights import load_folder
from core.models.image_model import ImageModel
from core.toybox.captions import articles
from core.toybox.scene_views import SceneView, render_scene_views
from core.toybox.scenes import COLOR_NAMES, Scene, random_scene
from dream3d.meshing.extract import extract_mesh
from dream3d.meshing.mesh import Mesh
from dream3d.meshing.pipeline import SIZE, mesh_field
from dream3d.meshing.preview import render_eight_views
from dream3d.nerf.cameras import ELEVATION, orbit_cameras
from dream3d.nerf.scene_field import SceneField
from dream3d.optimization.oracle import fit_true_views
from dream3d.options import ObjectJob, ObjectOptions
from dream3d.text_to_3d import PHASE, start_optimization
from dreamlift.evaluation.judge import Judge
from dreamlift.evaluation.mesh_metrics import ObjectMeasures, measure, pictures_for_a_judge

HELD = 3  # every third prompt is of a pair that was never trained on


class JudgeAnswers(BaseModel):
    """What the judge sees in pictures of one mesh, all together."""

    subject: bool
    action: bool


class ObjectResult(BaseModel):
    """One object."""

    prompt: str
    seed: int
    held_out: bool
    measures: ObjectMeasures
    watertight: bool
    largest_piece: float
    color: JudgeAnswers
    shape: JudgeAnswers
    true_color: JudgeAnswers  # the same of the true object
    true_shape: JudgeAnswers
    seconds: float


class ObjectReport(BaseModel):
    """All objects of one evaluation."""

    model: str
    model_sha256: str
    judge_sha256: str
    options: ObjectOptions
    device: str
    processes: int = 1
    items: list[ObjectResult]

    def table(self) -> Table:
        """Means and shares over all objects."""
        table = Table(title=f"{self.model}: {len(self.items)} objects, loss {self.options.loss}")
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
                seen, true = ([getattr(getattr(i, p + kind), name) for i in items] for p in ("", "true_"))
                table.add_row(f"judge: {name} by {kind}", mean(seen), mean(true))
        table.add_row("watertight", mean([i.watertight for i in items]), "")
        table.add_row("largest piece", mean([i.largest_piece for i in items]), "")
        table.add_row("seconds", mean([i.seconds for i in items]), "")
        return table


def prompts(count: int, seed: int) -> list[tuple[Scene, str]]:
    """Scenes of one figure before a plain backdrop and what is asked for, every third of a held-out pair."""
    rng = np.random.default_rng([seed, 33])
    drawn = []
    while len(drawn) < count:
        scene = random_scene(rng, held=len(drawn) % HELD == HELD - 1)
        if not scene.group and scene.place.plain:
            phrase = scene.act.phrases[0].replace("{c}", COLOR_NAMES[scene.color])
            drawn.append((scene, articles(f"a {scene.who.name} {phrase}")))
    return drawn


def true_mesh(scene: Scene) -> Mesh:
    """The true object, meshed as distilled ones are: at the level that fits the toybox's own silhouettes."""
    cameras = orbit_cameras(8)
    shots = [
        SceneView(scene, PHASE, azimuth, ELEVATION, shadow=False) for azimuth in cameras.azimuth.tolist()
    ]
    return extract_mesh(SceneField(scene, PHASE), cameras, render_scene_views(shots, SIZE).alpha > 0.5).mesh


class ObjectEvaluationPlan(NamedTuple):
    """What an evaluation makes: `seeds` objects of each of `count` prompts, into `out`."""

    model: Path
    judge: Path
    out: Path
    options: ObjectOptions
    count: int
    seeds: int
    seed: int
    device: str
    true_views: bool = False  # the x0 form's targets are the toybox's pictures, not the model's


class ObjectEvaluator:
    """Makes and measures objects of a plan, one by one."""

    def __init__(self, plan: ObjectEvaluationPlan) -> None:
        """Raises UserError for models, judges and devices that cannot be used."""
        device = pick_device(plan.device)
        self.plan = plan
        self.judge = Judge.load(plan.judge, device)
        self.model = ImageModel.load(plan.model, device)

    def __call__(self, number: int) -> ObjectResult:
        """The object of that number, 0 to count * seeds - 1; writes a sheet of it beside the true one."""
        plan, (which, seed) = self.plan, divmod(number, self.plan.seeds)
        scene, prompt = prompts(plan.count, plan.seed)[which]
        truth = true_mesh(scene)
        began = time.perf_counter()
        job = ObjectJob(prompt, plan.seed + seed, plan.out / f"{number:03d}.glb")
        if plan.true_views:
            size = self.model.config.size
            optimization = fit_true_views(scene, plan.options, image_size=size, seed=job.seed, phase=PHASE)
        else:
            optimization = start_optimization(self.model, prompt, plan.options, seed=job.seed, bundled=True)
        for _ in optimization:
            pass
        mesh, _, surface = mesh_field(optimization.field, plan.options)
        seconds = time.perf_counter() - began
        write_sheet(
            job.sheet,
            np.concatenate([render_eight_views(mesh), render_eight_views(truth)]),
            prompt,
            columns=8,
        )
        return ObjectResult(
            prompt=prompt,
            seed=job.seed,
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


def evaluate_objects(plan: ObjectEvaluationPlan, processes: int = 1) -> ObjectReport:
    """Makes and measures the objects of a plan, in `processes` of one thread each where there are several.

    report.json grows with every object, so that a run that is stopped leaves what it measured.
    Raises UserError for models, judges and devices that cannot be used, before any work.
    """
    _worker(plan)
    console = Console(stderr=True)
    report = ObjectReport(
        model=plan.model.name,
        model_sha256=load_folder(plan.model).sha256,
        judge_sha256=load_folder(plan.judge).sha256,
        options=plan.options,
        device=describe_device(pick_device(plan.device)),
        processes=processes,
        items=[],
    )
    for judged in _made(plan, processes):
        report.items.append(judged)
        with atomic_write(plan.out / "report.json") as draft:
            draft.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        found = f"silhouette IoU {judged.measures.silhouette_iou:.2f}, {judged.seconds:.0f} s"
        console.print(f"{judged.prompt}: {found}")
    Console().print(report.table())
    return report


def _made(plan: ObjectEvaluationPlan, processes: int) -> Iterator[ObjectResult]:
    numbers = range(plan.count * plan.seeds)
    if processes == 1:
        yield from (_make(plan, number) for number in numbers)
        return
    with get_context("spawn").Pool(processes, single_thread) as pool:
        yield from pool.imap(partial(_make, plan), numbers)


@lru_cache(maxsize=1)
def _worker(plan: ObjectEvaluationPlan) -> ObjectEvaluator:
    """Read once in every process."""
    return ObjectEvaluator(plan)


def _make(plan: ObjectEvaluationPlan, number: int) -> ObjectResult:
    return _worker(plan)(number)


@torch.no_grad()
def _answers(judge: Judge, scene: Scene, mesh: Mesh, textureless: bool) -> JudgeAnswers:
    seen = judge(pictures_for_a_judge(mesh, textureless).to(next(judge.parameters()).device))
    right = {"subject": scene.subject, "action": scene.action}
    said = {name: int(seen[name].log_softmax(1).mean(0).argmax()) for name in right}
    return JudgeAnswers(**{name: said[name] == label for name, label in right.items()})
