"""The training loop: AdamW, learning-rate decay to zero, weight averaging, checkpoints and exact resume.

Images, clips and autoencoders differ only in their `Task`. Every step seeds the global generators from (seed,
step). No random state needs to be stored, and a killed run resumes exactly. A task that is `Drawn` is trained
in the same way by any number of processes, and by any number of parts of a batch.
"""

import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from core.command_line.interruption import Interruption, catch_interrupts
from core.errors import UserError
from core.io.atomic import WriteError, writable_folder
from core.io.machine import fast_bfloat16
from core.io.text import too_few
from core.nn.unet import UNet
from core.training import checkpoint
from core.training.batch import Batch, batch_indices, derive_seed
from core.training.config import Budget, TrainingConfig
from core.training.contracts import AuxiliaryNetwork, Drawn, Monitor, Task, Trainable
from core.training.ema import EMA
from core.training.monitoring import run_log
from core.training.processes import make_accelerator


@dataclass(frozen=True)
class BareNetwork:
    """A model that consists of its network alone."""

    network: nn.Module

    def with_network(self, network: nn.Module) -> "BareNetwork":
        """The same with another network."""
        return BareNetwork(network)


def stratified_timesteps(count: int, timesteps: int, device: torch.device) -> Tensor:
    """Timesteps (count,) uniform in [0, timesteps), one in each of `count` equal strata, in random order.

    They reduce the variance of a batch's loss compared with independent draws (Kingma et al. 2021, VDM,
    section I.1).
    """
    strata = (torch.randperm(count) + torch.rand(1, dtype=torch.float64)) / count
    return (strata * timesteps).long().clamp(max=timesteps - 1).to(device)


class Trainer:
    """Trains a model's network in place.

    folder: the run folder, with `checkpoint.safetensors` and `log.jsonl` (one line every `log_steps`: step,
        samples, seconds, lr, loss, norm of the gradient).
    rate_scale: parameter name -> factor on the learning rate, 1 by default. 0 freezes a parameter, which then
        has no gradient and no state of the optimizer.
    auxiliary: network that the task trains itself.
    monitors: what watches the run; a step about which one returns values is logged as well.

    The run resumes from a checkpoint in the folder. Raises UserError when there are fewer examples than a
    batch, when the batch cannot be divided among processes and their parts, and for parts of a batch with an
    auxiliary network, which learns once a step. Only a `UNet` can checkpoint activations.
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
        monitors: Sequence[Monitor] = (),
    ) -> None:
        self.task, self.config, self.folder = task, config, writable_folder(folder)
        self.auxiliary, self.monitors = auxiliary, monitors
        self.accelerator = accelerator or make_accelerator()
        self.device = self.accelerator.device
        if len(task) < config.batch_size:
            raise UserError(
                f"{too_few(len(task), 'example')} for batches of {config.batch_size}: lower the batch size."
            )
        processes = self.accelerator.num_processes
        if config.batch_size % (processes * config.accumulation):
            parts = f", each in {config.accumulation} parts" if config.accumulation > 1 else ""
            raise UserError(
                f"The batch size {config.batch_size} is not a multiple of the {processes} processes{parts}."
            )
        if auxiliary and config.accumulation > 1:
            raise UserError("A run with an adversary takes its batches whole: leave accumulation at 1.")
        self.network = model.network.to(self.device).train()
        if config.channels_last:
            for parameter in self.network.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.ema = EMA(self.network, config.ema_width)
        self.optimizer = torch.optim.AdamW(self._groups(rate_scale), betas=config.betas, fused=True)
        self.step, self.seconds = 0, 0.0
        self.interruption = Interruption()  # of the last run
        if checkpoint.exists(self.folder):
            progress = checkpoint.load(self.folder, self, self.ema.network, self.auxiliary, task)
            self.step, self.seconds = progress["step"], progress["seconds"]
            if self.accelerator.is_main_process:
                run_log.truncate(self.folder, self.step)
        if config.checkpoint_activations:
            self._checkpoint_activations()
        if config.compile:
            self.network.compile(dynamic=False)
        self.prepared = self.accelerator.prepare_model(self.network)
        self.model = model.with_network(self.prepared)

    def run(self, budget: Budget) -> bool:
        """Trains until the budget is spent or Ctrl-C, then saves. Returns whether the budget is spent."""
        if self.accelerator.num_processes > 1 and self.accelerator.is_main_process:
            print(f"{self.folder}: trained by {self.accelerator.num_processes} processes")
        with catch_interrupts() as self.interruption, self._progress() as show_progress:
            started, saved = time.monotonic() - self.seconds, time.monotonic()
            losses: list[Tensor] = []
            norms: list[Tensor] = []
            first, spent = self.step, 0.0
            while True:
                seconds = time.monotonic() - started
                done, stop = self._synchronize(budget.is_spent(self.step, seconds), bool(self.interruption))
                if self.step > first:  # about the step before, now that it is known whether it was the last
                    values = self._watch(done >= 1)
                    if values or self.step % self.config.log_steps == 0:
                        self._log(spent, losses, norms, values)
                        show_progress(spent, losses[-1])
                        losses, norms = [], []
                    if time.monotonic() - saved >= 60 * self.config.checkpoint_minutes:
                        with self._without_stopping():
                            self.save()
                        saved = time.monotonic()
                self.seconds, spent = seconds, done
                if done >= 1 or stop:
                    break
                loss, norm = self._step(done)
                losses.append(loss)
                norms.append(norm)
        self.save()
        return done >= 1

    def save(self) -> None:
        """Writes the checkpoint. Only the main process writes."""
        if self.accelerator.is_main_process:
            progress = {"step": self.step, "seconds": self.seconds}
            checkpoint.save(self.folder, self, self.ema.network, progress, self.auxiliary, self.task)

    def _watch(self, last: bool) -> dict[str, float]:
        """Calls the monitors after a step; returns their values for the log."""
        values: dict[str, float] = {}
        for monitor in self.monitors:
            with self._without_stopping():
                values |= monitor(self.step, self.ema.network, last)
        return values

    @contextmanager
    def _without_stopping(self) -> Generator[None, None, None]:
        """Context of a write that a run can do without: a failure is printed, and the run goes on."""
        try:
            yield
        except WriteError as error:
            print(f"{error} The run goes on and tries again.", file=sys.stderr)

    def learning_rate(self, step: int, done: float) -> float:
        """Learning rate of step 0, 1, ...: linear warm-up, constant, then a linear decay to 0.

        The decay takes the last `decay` of the run. done: completed fraction of the run.
        """
        config = self.config
        warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        left = min(1.0, (1 - done) / config.decay) if config.decay else 1.0
        return config.learning_rate * warm * left

    def _step(self, done: float) -> tuple[Tensor, Tensor]:
        """Takes one step. Returns its mean loss on this process and the gradient's norm before clipping."""
        config = self.config
        index = batch_indices(len(self.task), config.batch_size, config.seed, self.step)
        torch.manual_seed(derive_seed(config.seed, self.step, 0))
        batch = self.task.draw(index) if isinstance(self.task, Drawn) else index
        groups = self.optimizer.param_groups
        if self.auxiliary:
            self.auxiliary.begin(done)
            groups = groups + self.auxiliary.optimizer.param_groups
        for group in groups:
            group["lr"] = self.learning_rate(self.step, done) * group["factor"]
        with self._attention():  # includes the backward pass, which recomputes checkpointed activations
            loss = self._accumulate(batch)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.ema.update(self.network, self.step)
        return loss, norm

    def _accumulate(self, batch: Batch | Tensor) -> Tensor:
        """Adds up the gradients of this process's share of a batch, part by part; returns its mean loss."""
        count, first = self.config.accumulation, self.accelerator.process_index * self.config.accumulation
        parts = count * self.accelerator.num_processes
        losses: list[Tensor] = []
        for number in range(first, first + count):
            rows = slice(len(batch) * number // parts, len(batch) * (number + 1) // parts)
            if parts > 1:
                torch.manual_seed(derive_seed(self.config.seed, self.step, number))
            last = number == first + count - 1  # only then do the processes exchange gradients
            with nullcontext() if last else self.accelerator.no_sync(self.prepared):
                with self._precision():
                    loss = self.task.loss(self.model, batch[rows]).mean() / count
                self.accelerator.backward(loss)
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _checkpoint_activations(self) -> None:
        """Makes the blocks of the network recompute their activations (Chen et al. 2016)."""
        backbones = [module for module in self.network.modules() if isinstance(module, UNet)]
        if not backbones:
            raise UserError("This network cannot checkpoint activations: leave checkpoint_activations out.")
        for backbone in backbones:
            backbone.checkpoint_activations = True

    def _precision(self) -> AbstractContextManager[object]:
        """Autocast to bfloat16 on devices where it is fast."""
        lowered = self.config.bfloat16 and fast_bfloat16(self.device)
        return torch.autocast(self.device.type, torch.bfloat16) if lowered else nullcontext()

    def _attention(self) -> AbstractContextManager[object]:
        """The fastest attention kernel for training.

        On CPUs the backward pass of the fused kernel is slow for sequences as short as a clip.
        """
        return sdpa_kernel(SDPBackend.MATH) if self.device.type == "cpu" else nullcontext()

    def _groups(self, rate_scale: Callable[[str], float]) -> list[dict[str, Any]]:
        """Parameter groups of AdamW by learning-rate factor and weight decay; freezes those of factor 0."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in self.network.named_parameters():
            factor = rate_scale(name)
            if not factor:
                parameter.requires_grad_(False)
            if not parameter.requires_grad:
                continue
            decay = self.config.weight_decay if parameter.ndim > 1 else 0.0
            groups[factor, decay].append(parameter)
        return [
            {"params": parameters, "factor": factor, "weight_decay": decay}
            for (factor, decay), parameters in groups.items()
        ]

    def _synchronize(self, done: float, stop: bool) -> tuple[float, bool]:
        """The completed fraction and the stop request of the main process, on all processes."""
        if self.accelerator.num_processes == 1:
            return done, stop
        values = broadcast(torch.tensor([done, float(stop)], dtype=torch.float64, device=self.device))
        done, stop = values.tolist()  # pyright: ignore[reportAttributeAccessIssue]
        return done, bool(stop)

    def _log(self, done: float, losses: list[Tensor], norms: list[Tensor], values: dict[str, float]) -> None:
        """Appends a line to the log. Raises UserError when the loss is not finite."""
        loss = self.accelerator.reduce(torch.stack(losses).mean(), "mean").item()  # pyright: ignore
        if not math.isfinite(loss):
            raise UserError(
                f"The loss is no longer finite at step {self.step}{checkpoint.kept(self.folder)}: lower the "
                "learning rate."
            )
        if self.accelerator.is_main_process:
            line = {
                "step": self.step,
                "samples": self.step * self.config.batch_size,
                "seconds": round(self.seconds, 2),
                "lr": self.learning_rate(self.step - 1, done),
                "loss": loss,
                "gradient": torch.stack(norms).mean().item(),
            } | values
            with self._without_stopping():
                run_log.append(self.folder, line)
            self.accelerator.log(line, step=self.step)  # to trackers, if there are any

    @contextmanager
    def _progress(self) -> Generator[Callable[[float, Tensor], None], None, None]:
        """Progress bar of the main process; yields its update function (done, loss)."""
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
        with Progress(*columns, disable=not self.accelerator.is_main_process) as progress:
            bar = progress.add_task(f"step {self.step}", total=1.0)

            def show(done: float, loss: Tensor) -> None:
                progress.update(bar, completed=done, description=f"step {self.step}, loss {loss.item():.4f}")

            yield show
