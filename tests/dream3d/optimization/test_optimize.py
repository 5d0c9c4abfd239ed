"""The loop: the oracle's object is recovered, a run goes on as if it had not been stopped, stages change."""

import dataclasses
import itertools

import pytest
import torch

from core.toybox.actions import ACTIONS
from core.toybox.camera import Camera
from core.toybox.scenes import Scene, index_of, render_scenes
from core.toybox.subjects import SUBJECTS
from dream3d.nerf.cameras import Cameras
from dream3d.nerf.radiance_fields import Background
from dream3d.nerf.volume_rendering import render
from dream3d.optimization.backgrounds import ToyboxLight
from dream3d.optimization.optimize import Optimization
from dream3d.optimization.oracle import fit_true_views
from dream3d.options import ObjectOptions, Stage

SCENE = Scene(index_of(SUBJECTS, "fox"), index_of(ACTIONS, "holding a game controller"), 4, 0)


def begin(options: ObjectOptions, size: int, seed: int = 0) -> Optimization:
    return fit_true_views(SCENE, options, image_size=size, seed=seed)


def options(iterations: int, **more) -> ObjectOptions:
    coarse = Stage(share=0.5, size=32, samples=32, grid=32, guidance=1)
    fine = Stage(share=0.5, size=48, samples=40, grid=48, guidance=1)
    return ObjectOptions(iterations=iterations, learning_rate=0.3, stages=(coarse, fine), **more)


BUFFER = {"size": 24, "refresh_every": 6, "views_per_step": 12, "pixel_stride": 2}


@pytest.fixture(scope="module", params=[None, BUFFER], ids=["fresh views", "target buffer"])
def recovered(request: pytest.FixtureRequest) -> Optimization:
    run = begin(
        options(70, weights={"sparsity": 0.002, "entropy": 0.002}, target_buffer=request.param), size=48
    )
    for _ in run:
        pass
    return run


def test_the_oracle_leads_to_its_object(recovered: Optimization) -> None:
    azimuth = torch.arange(8) * 45 + 22.5
    cameras = Cameras(azimuth, torch.full_like(azimuth, 13))
    with torch.no_grad():
        seen = render(recovered.field, cameras, 48, 64, torch.ones(3), shader=ToyboxLight(cameras))
    nothing = torch.zeros(8, dtype=torch.bool)
    _, truth = render_scenes([SCENE], torch.zeros(8), Camera(azimuth, cameras.elevation), nothing, 48)
    mine, true = seen.opacity > 0.5, truth.alpha > 0.5
    overlap = (mine & true).sum((1, 2, 3)) / (mine | true).sum((1, 2, 3))
    assert overlap.mean() >= 0.9
    error = (seen.color - truth.color - (1 - truth.alpha)).square().mean()
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
def test_a_run_that_was_stopped_gives_the_same_bytes(stop: int, kind: dict) -> None:
    chosen = options(8, **kind)
    whole = begin(chosen, 32, seed=7)
    numbers = [state.losses for state in whole]
    first = begin(chosen, 32, seed=7)
    for _ in itertools.islice(first, stop):
        pass
    second = begin(chosen, 32, seed=1)
    second.load_state_dict(first.state_dict())
    assert [state.losses for state in second] == numbers[stop:]
    for (name, one), (_, other) in zip(whole.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


def test_lamps_come_after_the_first_share_and_as_often_as_asked() -> None:
    run = begin(options(60, lighting={"share": 0.75, "textureless": 0.5, "after": 0.5}), 32)
    cameras = Cameras(torch.zeros(2), torch.zeros(2))
    run.views.iteration = 29
    assert [run.views.sample_point_light(cameras) for _ in range(20)] == [None] * 20
    run.views.iteration = 30
    drawn = [run.views.sample_point_light(cameras) for _ in range(400)]
    lit = [shading for shading in drawn if shading]
    assert len(lit) / 400 == pytest.approx(0.75, abs=0.08)
    assert sum(shading.textureless for shading in lit) / len(lit) == pytest.approx(0.5, abs=0.1)
    assert all(shading.lights.shape == (2, 3) for shading in lit)


def test_a_learned_background_is_optimized_and_resumed_with_the_object() -> None:
    def learning() -> Optimization:
        run = begin(options(4), 32)
        color = Background()
        run.views.backgrounds = dataclasses.replace(
            run.views.backgrounds,
            learned=color,
            paint=lambda index, side: color()[:, None, None].expand(3, side, side),
        )
        run._begin_stage(0, None)
        return run

    whole, first, second = learning(), learning(), learning()
    list(whole)
    for _ in itertools.islice(first, 2):
        pass
    second.load_state_dict(first.state_dict())
    list(second)
    colors = [run.views.backgrounds.learned() for run in (whole, second)]
    assert torch.equal(*colors) and (colors[0] - 0.5).abs().max() > 0.01
