"""The pool of targets: how it fills, how it is renewed, what an iteration learns from it."""

import pytest
import torch
from pydantic import ValidationError

from dream3d.distill import SDS, Target, Timesteps, X0Reconstruction
from dream3d.optimization.view_strategies import FreshViews, TargetBuffer, make_view_strategy
from dream3d.options import ObjectOptions, Stage, TargetBufferOptions
from tests.dream3d.optimization.test_optimize import begin

BUFFER = {"size": 8, "refresh_every": 3, "views_per_step": 4, "pixel_stride": 2}


def options(**more) -> ObjectOptions:
    stages = (Stage(share=1, size=16, samples=8, grid=8, guidance=1),)
    return ObjectOptions(
        **({"iterations": 8, "learning_rate": 0.1, "stages": stages, "target_buffer": BUFFER} | more)
    )


class Numbered(X0Reconstruction):
    """Targets of which each batch is a shade brighter than the last."""

    def __init__(self) -> None:
        self.asked = 0

    def target(self, renders, condition, progress, generator) -> Target:
        self.asked += 1
        assert len(renders) == len(condition) and not renders.requires_grad
        return Target(torch.full_like(renders, self.asked / 10), renders, torch.zeros(len(renders)))


def test_a_pool_fills_at_once_and_then_renews_its_oldest() -> None:
    run, x0 = begin(options(), 16), Numbered()
    pool = run.view_strategy = TargetBuffer(x0, TargetBufferOptions(**BUFFER))

    def shades() -> list[int]:
        return (pool.buffer["target"][:, 0, 0, 0] * 10).round().int().tolist()

    next(iter(run))
    assert shades() == [1] * 4 + [2] * 4
    for renewed in ([3] * 4 + [2] * 4, [3] * 4 + [4] * 4):
        for _ in range(3):
            next(iter(run))
        assert shades() == renewed
    assert x0.asked == 4


def test_the_loss_is_of_some_pixels_of_some_targets() -> None:
    run = begin(options(weights={}), 16)
    pool = run.view_strategy = TargetBuffer(
        Numbered(), TargetBufferOptions(size=8, refresh_every=9, views_per_step=8, pixel_stride=2)
    )
    result = pool(run.views)
    assert result.render.color.shape == (8, 3, 8, 8)
    shades = (result.render.color.detach() * 2 - 1).flatten(1)
    # All are taken, in an order that only the loss knows: its least and its largest possible value are near.
    apart = [(shades - shade).square().mean() for shade in (0.1, 0.2)]
    assert min(apart) - 1e-6 <= result.loss.item() <= max(apart) + 1e-6
    assert result.renders.shape == result.targets().shape == (4, 3, 16, 16)


def test_a_target_of_another_size_is_brought_to_the_stage() -> None:
    run = begin(options(), 32)  # the model's pictures are twice as large as the stage's
    next(iter(run))
    assert isinstance(run.view_strategy, TargetBuffer)
    assert run.view_strategy.buffer["target"].shape == (8, 3, 32, 32)


def test_targets_stay_when_a_stage_ends() -> None:
    half = {"share": 0.5, "size": 16, "samples": 8, "guidance": 1}
    run = begin(options(iterations=4, stages=({**half, "grid": 8}, {**half, "grid": 12})), 16)
    states = iter(run)
    next(states), next(states)
    before, kept = run.view_strategy, run.view_strategy.buffer["target"]
    next(states)
    assert run.view_strategy is not before and run.view_strategy.buffer["target"] is kept
    assert run.field.resolution == 12


def test_only_targets_can_be_kept() -> None:
    class Never(Timesteps):
        def draw(self, count, progress, timesteps, generator):
            raise AssertionError

    sds = SDS(None, Never())  # pyright: ignore[reportArgumentType]
    assert isinstance(make_view_strategy(sds, None, None), FreshViews)
    with pytest.raises(ValueError, match="which only the x0 form has|needs targets"):
        make_view_strategy(sds, TargetBufferOptions(), None)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "sds"}, "has no targets to store"),
        ({"views": 3}, "multiple of views"),
        ({"target_buffer": {**BUFFER, "views_per_step": 9}}, "views_per_step at most size"),
        ({"target_buffer": {**BUFFER, "pixel_stride": 3}}, "multiple of target_buffer.pixel_stride"),
        ({"lighting": {"share": 0.5}}, "stored targets cannot be relit"),
    ],
)
def test_pools_that_cannot_be_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        options(**wrong)


def test_another_loss_on_the_command_line_leaves_the_pool_out() -> None:
    assert options().with_changes(loss="sds").target_buffer is None
    assert options().with_changes(loss="x0").target_buffer == TargetBufferOptions(**BUFFER)
