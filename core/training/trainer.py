"""The training loop: AdamW, a rate that ends at zero, an average of the weights, checkpoints, exact resume.

What differs between images, clips and autoencoders is the `Task`. Every step seeds the global generators from
(seed, step, process), and its examples follow from (seed, step) alone: there is no random state to store, and
a run that was killed goes on as if it had not been.
"""

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from core.errors import UserError
from core.io.atomic import atomic_write, writable_folder
from core.io.interruption import catch_interrupts
from core.io.machine import fast_bfloat16
from core.training import checkpoint
from core.training.config import Budget, TrainingConfig
from core.training.ema import EMA

LOG = "log.jsonl"


class Trainable(Protocol):
    """What is trained: a network, and around it what stays as it is, such as a `Denoiser`."""

    @property
    def network(self) -> nn.Module: ...

    def with_network(self, network: nn.Module, /) -> "Trainable":
        """The same around another network: the trained one, prepared for several processes."""
        ...


@dataclass(frozen=True)
class BareNetwork:
    """A network with nothing around it, for the trainer."""

    network: nn.Module

    def with_network(self, network: nn.Module) -> "BareNetwork":
        return BareNetwork(network)


class Task(Protocol):
    """What is learned: examples, and their loss. One that is `checkpoint.Stateful` is stored with the run."""

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def loss(self, model: Any, index: Tensor, /) -> Tensor:
        """The loss of each example, (B,), as the trainer's model has them. Draws from the global generators.

        model: of the kind the trainer was given; index: (B,) on the CPU, which examples.
        """
        ...


class AuxiliaryNetwork(checkpoint.Learner, Protocol):
    """What a task itself trains within `loss`, beside the network: an adversary.

    The trainer sets its learning rate, the run's times the "factor" of each group of its optimizer's, and
    keeps its state in the checkpoint.
    """

    def begin(self, done: float, /) -> None:
        """Called before every step. done: share of the run that is over, in [0, 1)."""
        ...


def stratified_timesteps(count: int, timesteps: int, device: torch.device) -> Tensor:
    """(count,) timesteps uniform in [0, timesteps), one in each of `count` equal strata, in random order.

    Kingma et al. 2021 (VDM), section I.1: the loss of a batch varies less than with independent draws.
    """
    strata = (torch.randperm(count) + torch.rand(1, dtype=torch.float64)) / count
    return (strata * timesteps).long().clamp(max=timesteps - 1).to(device)


def batch_indices(size: int, batch: int, seed: int, step: int) -> Tensor:
    """(batch,) indices of the step's examples: a new permutation every epoch, its incomplete end left out."""
    epoch, position = divmod(step, size // batch)
    return _permutation(size, derive_seed(seed, epoch))[position * batch : (position + 1) * batch]


@lru_cache(maxsize=1)
def _permutation(size: int, seed: int) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def derive_seed(*numbers: int) -> int:
    """A 63-bit seed of a few integers."""
    return int.from_bytes(blake2b(repr(numbers).encode(), digest_size=8).digest(), "big") >> 1


class Trainer:
    """Trains a model's network in place.

    folder: of the run; holds `checkpoint.safetensors` and `log.jsonl` (a line each `log_steps`: step,
        samples, seconds, lr, loss, norm of the gradient).
    rate: parameter name -> factor on the learning rate; 1 for all unless given.
    beside: what the task trains itself, if anything.

    With a checkpoint in the folder the run goes on from there. Raises UserError when there are fewer examples
    than a batch, or the batch cannot be shared by the processes.
    """

    def __init__(
        self,
        model: Trainable,
        task: Task,
        config: TrainingConfig,
        folder: Path,
        accelerator: Accelerator | None = None,
        rate_scale: Callable[[str], float] = lambda name: 1.0,
        auxiliary: AuxiliaryNetwork | None = None,
    ) -> None:
        self.task, self.config, self.folder = task, config, writable_folder(folder)
        self.auxiliary = auxiliary
        self.accelerator = accelerator or make_accelerator()
        self.device = self.accelerator.device
        if len(task) < config.batch_size:
            raise UserError(f"{len(task)} examples are too few for batches of {config.batch_size}.")
        processes = self.accelerator.num_processes
        if config.batch_size % processes:
            raise UserError(f"The batch of {config.batch_size} cannot be shared by {processes} processes.")
        self.network = model.network.to(self.device).train()
        if config.channels_last:
            for parameter in self.network.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.ema = EMA(self.network, config.ema_width)
        self.optimizer = torch.optim.AdamW(self._groups(rate_scale), betas=config.betas, fused=True)
        self.step, self.seconds = 0, 0.0
        if checkpoint.exists(self.folder):
            progress = checkpoint.load(self.folder, self, self.ema.network, self.auxiliary, task)
            self.step, self.seconds = progress["step"], progress["seconds"]
            if self.accelerator.is_main_process:
                self._cut_log()
        if config.compile:
            self.network.compile(dynamic=False)
        prepared = self.accelerator.prepare_model(self.network)
        self.model = model.with_network(prepared)

    def run(self, budget: Budget) -> bool:
        """Trains until the budget is spent or Ctrl-C; saves. Whether it is spent."""
        with catch_interrupts() as interrupted, self._progress() as show:
            started, saved = time.monotonic() - self.seconds, time.monotonic()
            losses: list[Tensor] = []
            norms: list[Tensor] = []
            while True:
                self.seconds = time.monotonic() - started
                done, stop = self._agreed(budget.is_spent(self.step, self.seconds), interrupted())
                if done >= 1 or stop:
                    break
                loss, norm = self._step(done)
                losses.append(loss)
                norms.append(norm)
                if self.step % self.config.log_steps == 0:
                    self._log(done, losses, norms)
                    show(done, losses[-1])
                    losses, norms = [], []
                if time.monotonic() - saved >= 60 * self.config.checkpoint_minutes:
                    self.save()
                    saved = time.monotonic()
        self.save()
        return done >= 1

    def save(self) -> None:
        """Writes the checkpoint (main process only)."""
        if self.accelerator.is_main_process:
            progress = {"step": self.step, "seconds": self.seconds}
            checkpoint.save(self.folder, self, self.ema.network, progress, self.auxiliary, self.task)

    def learning_rate(self, step: int, done: float) -> float:
        """Of step 0, 1, ...: linear warm-up, constant, then linear to 0 over the last `decay` of the run."""
        config = self.config
        warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        left = min(1.0, (1 - done) / config.decay) if config.decay else 1.0
        return config.learning_rate * warm * left

    def _step(self, done: float) -> tuple[Tensor, Tensor]:
        """One step; its mean loss on this process and the gradient's norm before clipping."""
        config, rank = self.config, self.accelerator.process_index
        share = config.batch_size // self.accelerator.num_processes
        index = batch_indices(len(self.task), config.batch_size, config.seed, self.step)
        torch.manual_seed(derive_seed(config.seed, self.step, rank))
        groups = self.optimizer.param_groups
        if self.auxiliary:
            self.auxiliary.begin(done)
            groups = groups + self.auxiliary.optimizer.param_groups
        for group in groups:
            group["lr"] = self.learning_rate(self.step, done) * group["factor"]
        with self._attention():  # on the way back too, where checkpointed activations are calculated anew
            with self._precision():
                loss = self.task.loss(self.model, index[rank * share : (rank + 1) * share]).mean()
            self.accelerator.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.ema.update(self.network, self.step)
        return loss.detach(), norm

    def _precision(self) -> AbstractContextManager:
        """bfloat16 where that is fast."""
        lowered = self.config.bfloat16 and fast_bfloat16(self.device)
        return torch.autocast(self.device.type, torch.bfloat16) if lowered else nullcontext()

    def _attention(self) -> AbstractContextManager:
        """The fastest way to train: on CPUs the fused kernel goes backwards slowly over sequences as short as
        a clip."""
        return sdpa_kernel(SDPBackend.MATH) if self.device.type == "cpu" else nullcontext()

    def _groups(self, rate: Callable[[str], float]) -> list[dict]:
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in self.network.named_parameters():
            if not parameter.requires_grad:
                continue
            decay = self.config.weight_decay if parameter.ndim > 1 else 0.0
            groups[rate(name), decay].append(parameter)
        return [
            {"params": parameters, "factor": factor, "weight_decay": decay}
            for (factor, decay), parameters in groups.items()
        ]

    def _agreed(self, done: float, stop: bool) -> tuple[float, bool]:
        """The main process's clock and wish to stop, on all processes."""
        if self.accelerator.num_processes == 1:
            return done, stop
        both = broadcast(torch.tensor([done, float(stop)], dtype=torch.float64, device=self.device))
        done, stop = both.tolist()  # pyright: ignore[reportAttributeAccessIssue]
        return done, bool(stop)

    def _log(self, done: float, losses: list[Tensor], norms: list[Tensor]) -> None:
        loss = self.accelerator.reduce(torch.stack(losses).mean(), "mean").item()  # pyright: ignore
        if not math.isfinite(loss):
            raise UserError(f"The loss is no longer finite at step {self.step}: lower the learning rate.")
        if self.accelerator.is_main_process:
            line = {
                "step": self.step,
                "samples": self.step * self.config.batch_size,
                "seconds": round(self.seconds, 2),
                "lr": self.learning_rate(self.step - 1, done),
                "loss": loss,
                "gradient": torch.stack(norms).mean().item(),
            }
            with (self.folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _cut_log(self) -> None:
        """Drops what was logged after the checkpoint: those steps are taken again."""
        path = self.folder / LOG
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= self.step]
            with atomic_write(path) as draft:
                draft.write_text("".join(kept), encoding="utf-8")

    @contextmanager
    def _progress(self) -> Iterator[Callable[[float, Tensor], None]]:
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
        with Progress(*columns, disable=not self.accelerator.is_main_process) as progress:
            bar = progress.add_task(f"step {self.step}", total=1.0)

            def show(done: float, loss: Tensor) -> None:
                progress.update(bar, completed=done, description=f"step {self.step}, loss {loss.item():.4f}")

            yield show


def make_accelerator() -> Accelerator:
    """Device and processes as accelerate finds them. Autocast is the trainer's own."""
    # Joint image-video training leaves the layers of time without gradient in some steps.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    torch.set_float32_matmul_precision("high")  # TF32 where CUDA is; no effect on the CPU's float32
    return Accelerator(kwargs_handlers=[unused])
