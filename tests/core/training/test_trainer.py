"""The training loop: closed forms, and exact resume of a killed run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.condition import Condition
from core.diffusion.denoiser import Denoiser
from core.diffusion.parameterization import Parameterization
from core.diffusion.schedule import NoiseSchedule
from core.errors import UserError
from core.losses import simple_loss
from core.nn.unet import UNet, UNetConfig
from core.training import checkpoint, trainer
from core.training.batch import batch_indices
from core.training.config import Budget, TrainingConfig
from core.training.ema import EMA, exponent
from core.training.monitoring import run_log
from core.training.trainer import Trainer, stratified_timesteps

ROOT = Path(__file__).parents[3]
EAGER = {"compile": False, "log_steps": 1}


class Level(nn.Module):
    """A network of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1))


class MeanTask:
    """A task whose loss is minimal where the number is the mean of 0, 1, ..., count - 1."""

    def __init__(self, count: int = 40) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def loss(self, denoiser: Denoiser, index: Tensor) -> Tensor:
        return (denoiser.network.level - index) ** 2


class NoiseTask:
    """Denoising of random images with a U-Net, dropout and random conditions."""

    pause = 0.0

    def __len__(self) -> int:
        return 10

    def loss(self, denoiser: Denoiser, index: Tensor) -> Tensor:
        time.sleep(self.pause)
        images = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(0))[index]
        t = stratified_timesteps(len(index), 1000, images.device)
        condition = Condition(torch.randn(4, 3, 8), torch.ones(4, 3, dtype=torch.bool), torch.zeros(4, 10))
        return simple_loss(denoiser, images, t, condition, torch.randn_like(images))


def make(task, folder: Path, network: nn.Module | None = None, rate=lambda name: 1.0, **settings) -> Trainer:
    config = TrainingConfig(**(EAGER | {"batch_size": 4} | settings))
    denoiser = Denoiser(network or Level(), NoiseSchedule.cosine(), Parameterization.V)
    return Trainer(denoiser, task, config, folder, rate_scale=rate)


def make_unet_trainer(folder: Path, less_memory: bool = False) -> Trainer:
    """A trainer of a small U-Net that saves at every step."""
    torch.manual_seed(0)
    config = UNetConfig(widths=(32,), blocks=(1,), attention=(True,), context_width=8, dropout=0.1, patch=2)
    settings = {"checkpoint_minutes": 0.0, "warmup_steps": 2, "checkpoint_activations": less_memory}
    return make(NoiseTask(), folder, UNet(config), **settings)


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / run_log.LOG).read_text().splitlines()]


def losses_of(folder: Path) -> list[tuple[int, float, float]]:
    return [(line["step"], line["loss"], line["lr"]) for line in log_of(folder)]


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    full = make_unet_trainer(tmp_path / "full")
    assert full.run(Budget(steps=9))

    code = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
import test_trainer
test_trainer.NoiseTask.pause = 0.3
test_trainer.make_unet_trainer(Path("killed")).run(test_trainer.Budget(steps=9))
"""
    killed = tmp_path / "killed"
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | threads)
    end = time.monotonic() + 300
    while not ((killed / run_log.LOG).is_file() and len(log_of(killed)) >= 4):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    process.kill()
    process.wait()

    resumed = make_unet_trainer(killed)
    assert 3 <= resumed.step < 9
    assert resumed.run(Budget(steps=9))
    assert losses_of(killed) == losses_of(tmp_path / "full")
    assert len(losses_of(killed)) == 9
    for ours, theirs in ((resumed.network, full.network), (resumed.ema.network, full.ema.network)):
        for (name, value), expected in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert torch.equal(value, expected), name


def test_converges_to_the_mean(tmp_path: Path) -> None:
    run = make(MeanTask(), tmp_path, learning_rate=0.3, batch_size=20, decay=0.5, warmup_steps=10)
    run.run(Budget(steps=300))
    (learned,), (averaged,) = run.network.parameters(), run.ema.network.parameters()
    assert learned.item() == pytest.approx(19.5, abs=0.3)
    assert averaged.item() == pytest.approx(19.5, abs=0.3)
    assert log_of(tmp_path)[-1]["samples"] == 300 * 20


def test_first_step_moves_by_the_learning_rate_times_the_factor(tmp_path: Path) -> None:
    # Adam's first step is the rate times the sign of the gradient, independent of its size.
    class Two(Level):
        def __init__(self) -> None:
            super().__init__()
            self.slow = nn.Parameter(torch.zeros(1))

    class Task(MeanTask):
        def loss(self, denoiser: Denoiser, index: Tensor) -> Tensor:
            return super().loss(denoiser, index) + (denoiser.network.slow - 3) ** 2

    rates = {"level": 1.0, "slow": 0.25}
    run = make(Task(), tmp_path, Two(), rates.__getitem__, learning_rate=0.1, warmup_steps=0, decay=0)
    run.run(Budget(steps=1))
    assert run.network.level.item() == pytest.approx(0.1, rel=1e-4)
    assert run.network.slow.item() == pytest.approx(0.025, rel=1e-4)


def test_frozen_parameters_do_not_change(tmp_path: Path) -> None:
    network = nn.ModuleDict({"frozen": nn.Linear(2, 2).requires_grad_(False)})
    network.register_parameter("level", nn.Parameter(torch.zeros(1)))
    before = network["frozen"].weight.clone()
    make(MeanTask(), tmp_path, network, weight_decay=0.5).run(Budget(steps=2))
    assert torch.equal(network["frozen"].weight, before)


def test_learning_rate_warms_up_holds_and_falls_to_zero(tmp_path: Path) -> None:
    rate = make(MeanTask(), tmp_path, learning_rate=2.0, warmup_steps=4, decay=0.25).learning_rate
    assert [rate(step, 0.0) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert [rate(100, done) for done in (0.5, 0.75, 0.875, 1.0)] == [2.0, 2.0, 1.0, 0.0]


def test_a_run_with_checkpointed_activations_is_the_same(tmp_path: Path) -> None:
    plain, less = (
        make_unet_trainer(tmp_path / "plain"),
        make_unet_trainer(tmp_path / "less", less_memory=True),
    )
    assert less.network.checkpoint_activations and not less.ema.network.checkpoint_activations
    for run in (plain, less):
        run.run(Budget(steps=4))
    for ours, expected in zip(less.network.parameters(), plain.network.parameters(), strict=True):
        torch.testing.assert_close(ours, expected)
    with pytest.raises(UserError, match="cannot checkpoint activations"):
        make(MeanTask(), tmp_path / "other", checkpoint_activations=True)


def test_minutes_end_a_run_with_a_rate_near_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10**6, 5))  # seconds: every call of the clock advances it by five
    monkeypatch.setattr(trainer.time, "monotonic", lambda: next(clock))
    run = make(MeanTask(), tmp_path, warmup_steps=0, decay=0.5, learning_rate=1.0)
    assert run.run(Budget(minutes=10))
    log = log_of(tmp_path)
    assert run.seconds >= 600 > log[-1]["seconds"]
    assert log[0]["lr"] == 1.0 and log[-1]["lr"] == pytest.approx((1 - log[-1]["seconds"] / 600) / 0.5)


def test_the_first_limit_ends_the_run() -> None:
    assert Budget(steps=100, minutes=1).is_spent(50, 54.0) == pytest.approx(0.9)
    assert Budget(steps=100, minutes=1).is_spent(95, 54.0) == pytest.approx(0.95)
    for limits in ({}, {"steps": 0}, {"minutes": -1.0}):
        with pytest.raises(UserError, match="a number of steps or of minutes"):
            Budget(**limits)
    for limits in ({"minutes": float("nan")}, {"minutes": float("inf")}, {"steps": 10**10}):
        with pytest.raises(UserError, match="--(steps|minutes) cannot be .*: give a number from 0 to"):
            Budget(**limits)


def test_ctrl_c_saves_and_the_run_resumes(tmp_path: Path) -> None:
    class Interrupted(MeanTask):
        def loss(self, denoiser: Denoiser, index: Tensor) -> Tensor:
            signal.raise_signal(signal.SIGINT)
            return super().loss(denoiser, index)

    handler = signal.getsignal(signal.SIGINT)
    assert not make(Interrupted(), tmp_path).run(Budget(steps=5))
    assert signal.getsignal(signal.SIGINT) is handler
    run = make(MeanTask(), tmp_path)
    assert run.step == 1
    assert run.run(Budget(steps=5)) and [line["step"] for line in log_of(tmp_path)] == [1, 2, 3, 4, 5]


def test_a_loss_that_is_not_finite_ends_the_run_before_it_is_saved(tmp_path: Path) -> None:
    class Diverging(MeanTask):
        def loss(self, denoiser: Denoiser, index: Tensor) -> Tensor:
            return super().loss(denoiser, index) * float("nan")

    make(MeanTask(), tmp_path).run(Budget(steps=2))
    with pytest.raises(UserError, match="no longer finite at step 3"):
        make(Diverging(), tmp_path).run(Budget(steps=5))
    run = make(MeanTask(), tmp_path)
    assert run.step == 2 and run.network.level.isfinite()


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    class Exploding(MeanTask):
        """Its gradient is not finite from the fifth step on."""

        steps = 0

        def loss(self, denoiser: Denoiser, index: Tensor) -> Tensor:
            self.steps += 1
            loss = super().loss(denoiser, index)
            if self.steps >= 5:
                loss.register_hook(lambda gradient: gradient * float("nan"))
            return loss

    make(MeanTask(), tmp_path).run(Budget(steps=10))
    with pytest.raises(UserError, match="no longer finite at step 20; the checkpoint of step 10 is kept"):
        make(Exploding(), tmp_path, log_steps=100).run(Budget(steps=20))
    run = make(MeanTask(), tmp_path)
    assert run.step == 10 and run.network.level.isfinite()


def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(tmp_path: Path) -> None:
    for steps in (2, 4, 6):
        make(MeanTask(), tmp_path, decay=0.0).run(Budget(steps=steps))
    file = tmp_path / checkpoint.FILE
    file.write_bytes(file.read_bytes()[:-3])
    run = make(MeanTask(), tmp_path, decay=0.0)
    assert run.step == 4
    run.run(Budget(steps=6))
    whole = make(MeanTask(), tmp_path / "whole", decay=0.0)
    whole.run(Budget(steps=6))
    assert torch.equal(run.network.level, whole.network.level)


def test_fewer_examples_than_a_batch_raise(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 examples are too few for batches of 4"):
        make(MeanTask(3), tmp_path)


def test_missing_mismatched_and_damaged_checkpoints_raise(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint.read_ema(tmp_path)
    make(MeanTask(), tmp_path).run(Budget(steps=1))
    assert checkpoint.read_ema(tmp_path).keys() == {"level"}
    with pytest.raises(UserError, match="is of another network"):
        make(MeanTask(), tmp_path, nn.Linear(2, 2))
    file = tmp_path / checkpoint.FILE
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(UserError, match="is damaged"):
        make(MeanTask(), tmp_path)


def test_every_epoch_is_another_permutation() -> None:
    def epoch(number: int, seed: int = 0) -> list[int]:
        return torch.cat([batch_indices(13, 3, seed, 4 * number + i) for i in range(4)]).tolist()

    epochs = [epoch(number) for number in range(3)]
    for indices in epochs:
        assert len(indices) == len(set(indices)) == 12 and set(indices) < set(range(13))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0] != epoch(0, seed=1)
    assert epoch(1) == epochs[1]  # depends on seed and step alone


def test_timesteps_fill_every_stratum_and_are_uniform() -> None:
    torch.manual_seed(0)
    batches = torch.stack([stratified_timesteps(10, 1000, torch.device("cpu")) for _ in range(2000)])
    assert torch.equal((batches // 100).sort().values, torch.arange(10).expand(2000, 10))
    assert batches.min() >= 0 and batches.max() <= 999
    # The offset within the strata is shared by a batch and uniform over batches; the order is random.
    assert (batches % 100).double().mean().item() == pytest.approx(49.5, abs=2)
    assert batches[:, 0].double().mean().item() == pytest.approx(499.5, abs=25)


def test_exponents_of_the_paper() -> None:
    # Pairs given by Karras et al. 2023.
    assert exponent(0.05) == pytest.approx(16.97, abs=0.01)
    assert exponent(0.10) == pytest.approx(6.94, abs=0.01)


@pytest.mark.parametrize("width", [0.05, 0.15])
def test_the_average_has_the_requested_width(width: float) -> None:
    steps = 400
    network = nn.Linear(steps, 1, bias=False)
    ema = EMA(network, width)
    for step in range(1, steps + 1):  # one-hot weights: the average is the weight of every step
        with torch.no_grad():
            network.weight.zero_()[0, step - 1] = 1.0
        ema.update(network, step)
    share = ema.network.weight[0].double()
    assert share.sum().item() == pytest.approx(1.0, abs=1e-5)
    position = torch.arange(1, steps + 1).double() / steps
    mean = (share * position).sum()
    deviation = (share * (position - mean) ** 2).sum().sqrt().item()
    assert deviation == pytest.approx(width, rel=0.01)
