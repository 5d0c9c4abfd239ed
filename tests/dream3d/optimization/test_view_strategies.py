"""View strategies: the loss against closed forms, and which targets the buffer stores and replaces.

With an empty field every render is its background exactly, so losses can be computed without the renderer.
"""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from dream3d.distill import SDS, DistillationResult, PixelSpace, Target, Timesteps, X0Reconstruction
from dream3d.optimization.optimize import Optimization
from dream3d.optimization.view_strategies import (
    FreshViews,
    TargetBuffer,
    make_view_strategy,
    resize_images,
)
from dream3d.options import ObjectOptions, Stage, TargetBufferOptions

BUFFER = {"size": 8, "refresh_every": 3, "views_per_step": 4, "pixel_stride": 2}
SIZE = 16  # of the stage's renders


def options(**more) -> ObjectOptions:
    stages = (Stage(share=1, size=SIZE, samples=8, grid=8, guidance=1),)
    return ObjectOptions(
        **({"iterations": 8, "learning_rate": 0.1, "stages": stages, "target_buffer": BUFFER} | more)
    )


class RecordedTargets(X0Reconstruction):
    """Random targets, which are recorded batch by batch."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.batches: list[Tensor] = []

    def target(self, renders, condition, progress, generator) -> Target:
        assert len(renders) == len(condition) and not renders.requires_grad
        images = torch.randn(renders.shape, generator=self.generator)
        self.batches.append(images)
        return Target(images, renders, torch.zeros(len(renders)))


class SquaredDistance:
    """Sum of squared distances of the renders from a constant, as a `Distillation`."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, renders, condition, progress, generator) -> DistillationResult:
        count = torch.zeros(len(renders))
        constant = torch.full_like(renders, self.value)
        return DistillationResult((renders - constant).square().sum(), count, count, constant, PixelSpace())

    def state_dict(self) -> dict[str, Tensor]:
        return {"value": torch.tensor(self.value)}

    def load_state_dict(self, state) -> None:
        self.value = float(state["value"])


def empty(run: Optimization) -> Optimization:
    """The run with a field of density 25 softplus(-30) = 2e-12."""
    with torch.no_grad():
        run.field.grid[:, 0] = -30
    return run


def pil_resized(images: Tensor, size: int) -> Tensor:
    """Images (N,3,H,H) resized by Pillow, whose bilinear filter antialiases."""
    planes = [
        np.asarray(Image.fromarray(plane.numpy()).resize((size, size), Image.Resampling.BILINEAR))
        for plane in images.flatten(0, 1)
    ]
    return torch.from_numpy(np.stack(planes)).unflatten(0, (-1, 3))


@pytest.mark.parametrize(("large", "small"), [(32, 16), (16, 32), (24, 16)])
def test_resizing_agrees_with_pillow(large: int, small: int) -> None:
    images = torch.randn(2, 3, large, large, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resize_images(images, small), pil_resized(images, small), atol=1e-5, rtol=0)
    assert torch.equal(resize_images(images, large), images)


@pytest.mark.parametrize("image_size", [SIZE, 2 * SIZE])
def test_fresh_views_divide_the_distillation_loss_by_the_number_of_values(begin, image_size: int) -> None:
    run = empty(begin(options(), image_size))
    result = FreshViews(SquaredDistance(0.3))(run.views)
    paint, count = run.views.backgrounds.paint, len(run.views.backgrounds)
    painted = [paint(index, SIZE).expand(4, -1, -1, -1) * 2 - 1 for index in range(count)]
    (background,) = [p for p in painted if (result.render.color.detach() * 2 - 1 - p).abs().max() < 1e-4]
    expected = pil_resized(background, image_size) if image_size != SIZE else background
    torch.testing.assert_close(result.renders, expected, atol=1e-4, rtol=0)
    assert result.loss.item() == pytest.approx((expected - 0.3).square().mean().item(), abs=1e-4)
    assert (result.targets() == 0.3).all() and result.targets().shape == (4, 3, image_size, image_size)
    if image_size == SIZE:  # d/dcolor of mean((2 color - 1 - 0.3)^2)
        (gradient,) = torch.autograd.grad(result.loss, result.render.color)
        torch.testing.assert_close(
            gradient, 4 * (background - 0.3) / background.numel(), atol=1e-6, rtol=1e-3
        )


def test_fresh_views_store_the_state_of_the_distillation() -> None:
    first, second = FreshViews(SquaredDistance(0.25)), FreshViews(SquaredDistance(0.5))
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == {"value": torch.tensor(0.25)}


def test_an_empty_buffer_is_filled_and_then_the_oldest_targets_are_replaced(begin) -> None:
    run, x0 = begin(options(), SIZE), RecordedTargets()
    buffer = run.view_strategy = TargetBuffer(x0, TargetBufferOptions(**BUFFER))
    # Batches of four targets are in the buffer after iterations 1, 4 and 7, by number.
    for iterations, (first, second) in ((1, (0, 1)), (3, (2, 1)), (3, (2, 3))):
        list(itertools.islice(run, iterations))
        expected = torch.cat([x0.batches[first], x0.batches[second]])
        assert torch.equal(buffer.buffer["target"], expected)
    assert len(x0.batches) == 4


@pytest.mark.parametrize("image_size", [SIZE, 2 * SIZE])
def test_the_loss_is_the_mean_square_error_at_every_second_pixel_of_three_targets(
    begin, image_size: int
) -> None:
    run, x0 = empty(begin(options(), image_size)), RecordedTargets()
    buffer = TargetBuffer(x0, TargetBufferOptions(**(BUFFER | {"views_per_step": 3})))
    result = buffer(run.views)
    assert result.render.color.shape == (3, 3, SIZE // 2, SIZE // 2)
    targets = torch.cat(x0.batches)
    targets = targets if image_size == SIZE else pil_resized(targets, SIZE)
    backgrounds = buffer.buffer["behind"].tolist()
    renders = torch.stack([run.views.backgrounds.paint(index, SIZE) for index in backgrounds]) * 2 - 1
    errors = (renders - targets).square().mean(1)  # (8,H,W)
    candidates = {
        (chosen, row, column): errors[list(chosen), row::2, column::2].mean().item()
        for chosen in itertools.combinations(range(8), 3)
        for row, column in itertools.product(range(2), repeat=2)
    }
    matches = [
        case for case, loss in candidates.items() if loss == pytest.approx(result.loss.item(), abs=1e-6)
    ]
    assert len(matches) == 1


def test_all_pixel_offsets_and_different_targets_are_chosen(begin) -> None:
    run, x0 = empty(begin(options(), SIZE)), RecordedTargets()
    buffer = TargetBuffer(x0, TargetBufferOptions(**BUFFER))
    buffer(run.views)
    run.views.iteration = 1  # nothing is replaced
    losses = {round(buffer(run.views).loss.item(), 7) for _ in range(12)}
    assert len(losses) > 8 and len(x0.batches) == 2

    everything = TargetBuffer(x0, TargetBufferOptions(**(BUFFER | {"views_per_step": 8})), previous=buffer)
    backgrounds = buffer.buffer["behind"].tolist()
    renders = torch.stack([run.views.backgrounds.paint(index, SIZE) for index in backgrounds]) * 2 - 1
    errors = (renders - buffer.buffer["target"]).square()
    expected = [errors[..., row::2, column::2].mean().item() for row in range(2) for column in range(2)]
    losses = [everything(run.views).loss.item() for _ in range(30)]
    offsets = [np.abs(np.array(expected) - loss).argmin() for loss in losses]
    assert max(abs(expected[i] - loss) for i, loss in zip(offsets, losses, strict=True)) < 1e-6
    assert set(offsets) == {0, 1, 2, 3}


def test_the_result_shows_the_latest_targets_first(begin) -> None:
    run, x0 = empty(begin(options(), SIZE)), RecordedTargets()
    buffer = TargetBuffer(x0, TargetBufferOptions(**BUFFER))
    result = buffer(run.views)
    assert torch.equal(result.targets(), x0.batches[1].flip(0))
    latest = buffer.buffer["behind"][4:].flip(0).tolist()
    painted = torch.stack([run.views.backgrounds.paint(index, SIZE) for index in latest]) * 2 - 1
    torch.testing.assert_close(result.renders, painted, atol=1e-5, rtol=0)
    run.views.iteration = 3
    assert torch.equal(buffer(run.views).targets(), x0.batches[2].flip(0))


def test_stored_targets_have_the_size_of_the_models_images(begin) -> None:
    run = begin(options(), 2 * SIZE)
    next(iter(run))
    assert run.view_strategy.buffer["target"].shape == (8, 3, 2 * SIZE, 2 * SIZE)


def test_the_state_of_a_buffer_restores_it(begin) -> None:
    run = begin(options(), SIZE)
    list(itertools.islice(run, 4))
    state = run.view_strategy.state_dict()
    other = TargetBuffer(RecordedTargets(), TargetBufferOptions(**BUFFER))
    other.load_state_dict(state)
    assert other.oldest == 4 and set(state) == {*other.buffer, "oldest"}
    assert all(torch.equal(other.buffer[name], run.view_strategy.buffer[name]) for name in other.buffer)


def test_a_new_stage_takes_over_the_targets(begin) -> None:
    half = {"share": 0.5, "size": SIZE, "samples": 8, "guidance": 1}
    run = begin(options(iterations=4, stages=({**half, "grid": 8}, {**half, "grid": 12})), SIZE)
    states = iter(run)
    next(states), next(states)
    first, targets = run.view_strategy, run.view_strategy.buffer["target"]
    next(states)
    assert run.view_strategy is not first and run.view_strategy.buffer["target"] is targets
    assert run.field.resolution == 12


def test_only_the_x0_loss_can_have_a_target_buffer() -> None:
    class Never(Timesteps):
        def draw(self, count, progress, timesteps, generator):
            raise AssertionError

    sds = SDS(None, Never())  # pyright: ignore[reportArgumentType]
    assert isinstance(make_view_strategy(sds, None, None), FreshViews)
    with pytest.raises(ValueError, match="a target buffer needs targets, which only the x0 loss has"):
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
def test_invalid_buffer_options_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        options(**wrong)


def test_another_loss_on_the_command_line_removes_the_target_buffer() -> None:
    assert options().with_changes(loss="sds").target_buffer is None
    assert options().with_changes(loss="x0").target_buffer == TargetBufferOptions(**BUFFER)
