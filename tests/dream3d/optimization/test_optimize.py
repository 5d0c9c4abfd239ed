"""The optimization loop: recovery of a known object, exact resumption, stages, point lights."""

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
import torch

from core.errors import UserError
from core.io.files.record import MadeBy
from core.toybox.camera import Camera
from core.toybox.scenes import Scene, render_scenes
from dream3d.nerf.cameras import Cameras
from dream3d.nerf.radiance_fields import Background
from dream3d.nerf.volume_rendering import render
from dream3d.optimization import checkpoint
from dream3d.optimization.backgrounds import ToyboxLight
from dream3d.optimization.optimize import Optimization
from dream3d.optimization.view_renderer import ViewRenderer
from dream3d.optimization.view_strategies import StepResult
from dream3d.options import ObjectOptions, Stage


def options(iterations: int, **more) -> ObjectOptions:
    coarse = Stage(share=0.5, size=32, samples=32, grid=32, guidance=1)
    fine = Stage(share=0.5, size=48, samples=40, grid=48, guidance=1)
    return ObjectOptions(iterations=iterations, learning_rate=0.3, stages=(coarse, fine), **more)


BUFFER = {"size": 24, "refresh_every": 6, "views_per_step": 12, "pixel_stride": 2}


@pytest.fixture(scope="module", params=[None, BUFFER], ids=["fresh views", "target buffer"])
def recovered(request: pytest.FixtureRequest, begin) -> Optimization:
    run = begin(
        options(70, weights={"sparsity": 0.002, "entropy": 0.002}, target_buffer=request.param), size=48
    )
    for _ in run:
        pass
    return run


def test_true_views_recover_the_object(recovered: Optimization, fox: Scene) -> None:
    azimuth = torch.arange(8) * 45 + 22.5
    cameras = Cameras(azimuth, torch.full_like(azimuth, 13))
    with torch.no_grad():
        renders = render(recovered.field, cameras, 48, 64, torch.ones(3), shader=ToyboxLight(cameras))
    nothing = torch.zeros(8, dtype=torch.bool)
    _, truth = render_scenes([fox], torch.zeros(8), Camera(azimuth, cameras.elevation), nothing, 48)
    mine, true = renders.opacity > 0.5, truth.alpha > 0.5
    overlap = (mine & true).sum((1, 2, 3)) / (mine | true).sum((1, 2, 3))
    assert overlap.mean() >= 0.9
    error = (renders.color - truth.color - (1 - truth.alpha)).square().mean()
    assert -10 * error.log10() >= 25  # dB


def test_stages_follow_their_shares(recovered: Optimization) -> None:
    assert [recovered.stage_at(i) for i in (0, 34, 35, 69)] == [0, 0, 1, 1]
    assert recovered.field.resolution == 48
    assert recovered.views.progress == 1
    assert list(recovered) == []


@pytest.mark.parametrize("stop", [3, 5])  # within the first stage, and within the second
@pytest.mark.parametrize(
    "kind",
    [
        {"lighting": {"share": 0.0, "after": 0.0}},
        {"lighting": {"share": 1.0, "after": 0.0}},
        {"target_buffer": {"size": 8, "refresh_every": 2, "views_per_step": 3, "pixel_stride": 2}},
    ],
)
def test_a_resumed_run_gives_the_same_bytes(begin, stop: int, kind: dict) -> None:
    chosen = options(8, **kind)
    full = begin(chosen, 32, seed=7)
    numbers = [state.losses for state in full]
    first = begin(chosen, 32, seed=7)
    for _ in itertools.islice(first, stop):
        pass
    second = begin(chosen, 32, seed=1)
    second.load_state_dict(first.state_dict())
    assert [state.losses for state in second] == numbers[stop:]
    for (name, one), (_, other) in zip(full.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


def test_point_lights_start_after_the_first_share_with_the_given_frequency(begin) -> None:
    run = begin(options(60, lighting={"share": 0.75, "textureless": 0.5, "after": 0.5}), 32)
    cameras = Cameras(torch.zeros(2), torch.zeros(2))
    run.views.iteration = 29
    assert [run.views.sample_point_light(cameras) for _ in range(20)] == [None] * 20
    run.views.iteration = 30
    samples = [run.views.sample_point_light(cameras) for _ in range(400)]
    lit = [shader for shader in samples if shader]
    assert len(lit) / 400 == pytest.approx(0.75, abs=0.08)
    assert sum(shader.textureless for shader in lit) / len(lit) == pytest.approx(0.5, abs=0.1)
    assert all(shader.lights.shape == (2, 3) for shader in lit)


def test_a_learned_background_is_optimized_and_resumed_with_the_field(begin) -> None:
    def learning() -> Optimization:
        run, color = begin(options(4), 32), Background()
        backgrounds = dataclasses.replace(
            run.views.backgrounds,
            learned=color,
            paint=lambda index, side: color()[:, None, None].expand(3, side, side),
        )
        return Optimization(
            run.field, run.make_distillation, backgrounds, run.options, image_size=32, seed=0, phase=0.0
        )

    full, first, second = learning(), learning(), learning()
    list(full)
    for _ in itertools.islice(first, 2):
        pass
    second.load_state_dict(first.state_dict())
    list(second)
    colors = [run.views.backgrounds.learned() for run in (full, second)]
    assert torch.equal(*colors) and (colors[0] - 0.5).abs().max() > 0.01


def test_numbers_that_are_not_finite_end_the_run_and_leave_the_checkpoint(
    begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = begin(options(8), 32), tmp_path / "fox.checkpoint.safetensors"
    steps, strategy = iter(run), run.view_strategy
    next(steps)

    def diverged(views: ViewRenderer) -> StepResult:
        result = strategy(views)
        return dataclasses.replace(result, loss=result.loss * math.nan)

    with monkeypatch.context() as changed:
        changed.setattr(run, "view_strategy", diverged)
        with pytest.raises(UserError, match="The loss distillation is not finite at iteration 2 of 8"):
            next(steps)
    checkpoint.save(file, run, {}, MadeBy("a fox", 0))  # the step was not taken
    whole = file.read_bytes()
    with torch.no_grad():
        next(run.field.parameters()).flatten()[0] = math.nan
    with pytest.raises(UserError, match="The field's weight .* is not finite after iteration 1 of 8"):
        checkpoint.save(file, run, {}, MadeBy("a fox", 0))
    assert file.read_bytes() == whole
