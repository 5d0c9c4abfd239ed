"""Two processes: a killed run resumes, every example is read once in an epoch, and nobody waits for ever."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file
from torch import Tensor, nn

from core.errors import UserError
from core.training import checkpoint
from core.training.batch import Batch
from core.training.config import Budget, TrainingConfig
from core.training.monitoring import run_log
from core.training.monitoring.samples import SampleSheets
from core.training.monitoring.validation import Validation
from core.training.processes import make_accelerator
from core.training.trainer import BareNetwork, Trainer

ROOT = Path(__file__).parents[3]
EXAMPLES, BATCH = 13, 4  # three steps an epoch, and one example is left over
STEPS, KILLED = 8, 5  # in the middle of the second epoch


@dataclass(frozen=True, eq=False)
class Points(Batch):
    """Noised points (B,4) with their numbers (B,)."""

    number: Tensor
    x: Tensor


class PointTask:
    """Regression of points on noised points, which notes what this process reads, and may kill it."""

    def __init__(self, count: int, notes: Path | None = None, killed: bool = False) -> None:
        self.points = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
        self.notes, self.killed, self.steps = notes, killed, 0

    def __len__(self) -> int:
        return len(self.points)

    def draw(self, index: Tensor) -> Points:
        return Points(index, self.points[index] + 0.3 * torch.randn(len(index), 4))

    def loss(self, model: BareNetwork, batch: Points) -> Tensor:
        self.steps += 1
        if self.killed and self.steps > KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.notes:
            with self.notes.open("a") as file:
                file.write(json.dumps(batch.number.tolist()) + "\n")
        return (model.network(batch.x) - self.points[batch.number]).square().mean(1)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Dropout(0.1), nn.Linear(16, 4))


def validation(model: BareNetwork, accelerator: Accelerator) -> Validation:
    """Of five points in batches of seven draws: the processes have unequal shares."""
    return Validation(model, PointTask(5), accelerator, 2, batch_size=7)


def train(folder: Path, killed: bool = False) -> None:
    accelerator = make_accelerator()
    rank = accelerator.process_index
    model = BareNetwork(network())
    folder.mkdir(exist_ok=True)
    task = PointTask(EXAMPLES, folder / f"read-{rank}.jsonl", killed=killed and rank == 1)

    def draw(network: nn.Module, prompts: list[str], seeds: list[int]) -> Tensor:
        time.sleep(0.2)  # the other process is far ahead, and waits for the first in the next step
        return network(torch.ones(2, 4)).mean() * torch.ones(2, 3, 8, 8)

    monitors = [
        validation(model, accelerator),
        SampleSheets(folder, draw, ["a"], 3, enabled=accelerator.is_main_process),
    ]
    config = TrainingConfig(
        batch_size=BATCH, compile=False, log_steps=1, checkpoint_minutes=0.0, warmup_steps=0
    )
    Trainer(model, task, config, folder, accelerator, monitors=monitors).run(Budget(steps=STEPS))


def two_processes(port: int, *trainings: partial[None]) -> list[int]:
    """Trains in two processes that find each other; their exit codes, -9 for what was killed.

    They are forked, because importing everything takes longer than training.
    """
    started: list[int] = []
    for rank in range(2):
        started.append(os.fork())
        if not started[rank]:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            try:
                for training in trainings:
                    training()
                atexit._run_exitfuncs()
                assert "pt_gloo_runloop" not in threads(), "its thread may abort the process as it ends"
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
    second = os.waitstatus_to_exitcode(os.waitpid(started[1], 0)[1])
    if second:
        os.kill(started[0], signal.SIGKILL)  # as torchrun does
    return [os.waitstatus_to_exitcode(os.waitpid(started[0], 0)[1]), second]


def threads() -> set[str]:
    """Names of the threads of this process, where the system tells them."""
    return {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def main() -> None:
    killed, full = Path("killed"), Path("full")
    assert two_processes(free_port(), partial(train, killed, killed=True))[1] == -signal.SIGKILL
    steps = [line["step"] for line in run_log.read(killed)]
    assert steps and KILLED - 1 <= steps[-1] <= KILLED
    assert two_processes(free_port(), partial(train, killed), partial(train, full)) == [0, 0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed and resumed, and of one that was not, by two processes."""
    folder = tmp_path_factory.mktemp("runs")
    code = f"import sys; sys.path[:0] = {[str(ROOT), str(Path(__file__).parent)]}; import test_processes as t"
    command = [sys.executable, "-c", f"{code}; t.main()"]
    subprocess.run(command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=900)
    return folder


def test_a_run_of_two_processes_that_is_killed_and_resumed_equals_an_uninterrupted_one(runs: Path) -> None:
    killed, full = (load_file(runs / name / checkpoint.FILE) for name in ("killed", "full"))
    assert killed.keys() == full.keys()
    for name, value in full.items():
        torch.testing.assert_close(killed[name], value, rtol=0, atol=1e-6)
    lines = [
        [(line["step"], line["loss"], line.get("validation")) for line in run_log.read(runs / name)]
        for name in ("killed", "full")
    ]
    assert [step for step, *_ in lines[1]] == list(range(1, STEPS + 1))
    for ours, expected in zip(*lines, strict=True):
        assert ours == pytest.approx(expected, abs=1e-6)


def test_no_example_is_read_twice_in_an_epoch(runs: Path) -> None:
    first, second = (
        [json.loads(line) for line in (runs / "full" / f"read-{rank}.jsonl").read_text().splitlines()]
        for rank in range(2)
    )
    assert len(first) == len(second) == STEPS
    per_epoch = EXAMPLES // BATCH
    for start in range(0, STEPS, per_epoch):
        steps = first[start : start + per_epoch]
        read = list(chain(*steps, *second[start : start + per_epoch]))
        assert len(read) == len(set(read)) == BATCH * len(steps)


def test_two_processes_validate_as_one_does(runs: Path) -> None:
    averaged = network()
    averaged.load_state_dict(checkpoint.read_ema(runs / "full"))
    alone = validation(BareNetwork(averaged), Accelerator(cpu=True)).loss(averaged.eval())
    values = {
        line["step"]: line["validation"] for line in run_log.read(runs / "full") if "validation" in line
    }
    assert list(values) == [2, 4, 6, 8] and values[STEPS] == pytest.approx(alone, rel=1e-6)
    assert {path.name for path in (runs / "full" / "samples").iterdir()} == {
        f"step-{step:06d}.png" for step in (3, 6, 8)
    }


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_networks_in_shards_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")  # as accelerate launch does
    with pytest.raises(UserError, match=f"{name} cannot divide it"):
        make_accelerator()


def test_the_example_config_is_accelerates() -> None:
    config = load_config_from_file(str(ROOT / "configs" / "accelerate" / "gpus.yaml"))
    assert config.num_processes == 2 and config.mixed_precision == "no"
