"""Temporal super-resolution: given frames stay, a known world is interpolated exactly, training learns it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.errors import UserError
from core.training.config import Budget, TrainingConfig
from core.training.data import Shards
from core.training.processes import make_accelerator
from core.training.trainer import Trainer
from video.cascade.interpolation import FrameInterpolation, InterpolationConfig, between
from video.training.interpolation import InterpolationPreset, InterpolationTask

SMALL = InterpolationConfig(channels=2, widths=(16, 16), blocks=(1, 1))


class ProductOfNeighbors(torch.nn.Module):
    """The exact network of a world in which every frame is the mean of its neighbors plus their product."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, level: Tensor) -> Tensor:
        _, before, after = x.chunk(3, dim=1)
        return before * after


@pytest.mark.parametrize("loop", [False, True])
def test_frames_stay_and_those_between_follow_the_network(loop: bool) -> None:
    denoiser = SMALL.denoiser().with_network(ProductOfNeighbors())
    clips = torch.randn(2, 2, 5, 4, 4)
    out = FrameInterpolation(SMALL, denoiser).sample(clips, [0, 1], loop=loop)
    assert out.shape == (2, 2, 10 if loop else 9, 4, 4)
    assert torch.equal(out[:, :, ::2], clips)
    after = clips.roll(-1, 2)
    expected = (clips + after) / 2 + clips * after
    expected = expected if loop else expected[:, :, :-1]
    torch.testing.assert_close(out[:, :, 1::2], expected, atol=1e-4, rtol=1e-4)


def test_training_finds_the_frame_between(tmp_path: Path) -> None:
    phase = torch.rand(40, 1) * 6.28 + torch.arange(8) / 8 * 6.28  # loops of 8 frames
    values = torch.stack([phase.cos(), phase.sin()], dim=2)
    latents = values[..., None, None].expand(-1, -1, -1, 4, 4)
    columns = {name: torch.zeros(40) for name in Shards.COLUMNS}
    save_file({"pixels": latents.contiguous(), **columns}, tmp_path / "clips-00000.safetensors")
    clips = Shards(tmp_path, "clips")
    training = TrainingConfig(batch_size=32, learning_rate=3e-3, warmup_steps=5, compile=False)
    preset = InterpolationPreset(model=SMALL, gaps=(1,), greatest_level=0.0, training=training)
    denoiser = SMALL.denoiser()
    task = InterpolationTask(clips, preset)
    trainer = Trainer(denoiser, task, training, tmp_path / "run", make_accelerator())
    trainer.run(Budget(steps=250))
    given = latents[:6, ::2].transpose(1, 2)
    out = FrameInterpolation(SMALL, denoiser).sample(given, range(6), loop=True, steps=8)
    error = (out - latents[:6].transpose(1, 2)).square().mean().sqrt()
    naive = (out[:, :, ::2] + out[:, :, ::2].roll(-1, 2)) / 2 - latents[:6, 1::2].transpose(1, 2)
    assert error < 0.5 * naive.square().mean().sqrt()  # linear interpolation cuts the corners of the circle
    with pytest.raises(UserError, match="2 channels, the model takes 16"):
        InterpolationTask(clips, InterpolationPreset())


def test_neighbors_are_a_condition_and_the_model_is_stored(tmp_path: Path) -> None:
    denoiser = SMALL.denoiser()
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    before, after, x = torch.randn(3, 1, 2, 4, 4).unbind(0)
    t = torch.tensor([500])
    first = between(denoiser, before, after, torch.zeros(1)).network(x, t, None)
    assert not torch.allclose(first, between(denoiser, after, before, torch.zeros(1)).network(x, t, None))
    model = FrameInterpolation(SMALL, denoiser)
    model.save(tmp_path)
    clips = torch.randn(1, 2, 3, 4, 4)
    loaded = FrameInterpolation.load(tmp_path).sample(clips, [0])
    torch.testing.assert_close(loaded, model.sample(clips, [0]), atol=1e-2, rtol=1e-2)


class Recording(Shards):
    """Shards that keep which frames were read."""

    def pixels(self, index: Tensor, frames: Tensor | None = None) -> Tensor:
        self.read = frames
        return super().pixels(index, frames)


@pytest.mark.parametrize("loops", [False, True])
def test_only_loops_go_round(tmp_path: Path, loops: bool) -> None:
    columns = {name: torch.zeros(3) for name in Shards.COLUMNS}
    columns["phase"] = torch.zeros(3) if loops else torch.full((3,), torch.nan)
    save_file({"pixels": torch.rand(3, 6, 2, 4, 4), **columns}, tmp_path / "clips-00000.safetensors")
    clips = Recording(tmp_path, "clips")
    task = InterpolationTask(clips, InterpolationPreset(model=SMALL, gaps=(1, 2, 5)))
    torch.manual_seed(0)
    task.loss(SMALL.denoiser(), torch.arange(18).repeat(20))
    before, middle, after = clips.read.unbind(1)
    gaps = {1, 2, 5} if loops else {1, 2}  # six frames have room for two to each side
    assert set(((middle - before) % 6).tolist()) == gaps and torch.equal(
        (after - middle) % 6, (middle - before) % 6
    )
    if loops:
        assert set(middle.tolist()) == set(range(6))
    else:
        assert (before < middle).all() and (middle < after).all()
        assert set(middle.tolist()) == {1, 2, 3, 4} and {0, 5} <= set(torch.cat([before, after]).tolist())


def test_clips_of_two_frames_are_refused(tmp_path: Path) -> None:
    columns = {name: torch.zeros(3) for name in Shards.COLUMNS}
    save_file({"pixels": torch.rand(3, 2, 2, 4, 4), **columns}, tmp_path / "clips-00000.safetensors")
    with pytest.raises(UserError, match="none between two others"):
        InterpolationTask(Shards(tmp_path, "clips"), InterpolationPreset(model=SMALL))
