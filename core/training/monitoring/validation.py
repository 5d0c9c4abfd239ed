"""Validation: the loss of examples that are held back from training, always at the same noise."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from core.errors import UserError
from core.io.text import count_of
from core.training.batch import derive_seed
from core.training.config import MonitoringConfig
from core.training.contracts import Drawn, Trainable
from core.training.data import Shards

SHARE = 0.05  # of one's own pictures and clips
ENOUGH = 100  # of these, from which on that share is held back
DRAWN = 128  # noised examples of a validation


class Validation:
    """Mean loss of held-back examples under the averaged weights, as "validation" in the log.

    Noise and timesteps are the same at every step, so that the values of two steps, and those of any number
    of processes, can be compared. `DRAWN` examples are used: a part of many, evenly; few ones several times,
    each time with another noise.
    """

    def __init__(
        self,
        model: Trainable,
        task: Drawn,
        accelerator: Accelerator,
        steps: int,
        batch_size: int,
        seed: int = 0,
    ) -> None:
        """task: of the held-back examples; it draws nothing but noise and timesteps, and drops no conditions.

        steps: the loss is computed after each so many, and after the last.
        """
        self.model, self.task, self.accelerator = model, task, accelerator
        self.steps, self.batch_size, self.seed = steps, batch_size, seed

    def __call__(self, step: int, network: nn.Module, last: bool) -> dict[str, float]:
        """The validation loss where it is due, see `core.training.contracts.Monitor`."""
        return {"validation": self.loss(network)} if last or step % self.steps == 0 else {}

    @torch.no_grad()
    def loss(self, network: nn.Module) -> float:
        """Mean loss under the weights of `network`; the processes divide the batches among them."""
        model = self.model.with_network(network)
        index = torch.linspace(0, len(self.task) - 1, DRAWN, dtype=torch.float64).round().long()
        losses = torch.zeros(DRAWN, device=self.accelerator.device)
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        for number, rows in enumerate(torch.arange(DRAWN).split(self.batch_size)):
            if number % processes == process:
                torch.manual_seed(derive_seed(self.seed, -1, number))  # training starts at step 0
                losses[rows] = self.task.loss(model, self.task.draw(index[rows])).float()
        total: Any = self.accelerator.reduce(losses, "sum")  # each is zero in all processes but one
        return total.cpu().double().mean().item()


def hold_back(sources: Sequence[Shards], monitoring: MonitoringConfig, seed: int, own: bool) -> Tensor:
    """The captions (K,) whose examples validate, by their lines; empty where validation is off.

    The choice depends on the seed and the lines alone. All windows of a clip have the same line, and are held
    back together.

    own: pictures and clips of one's own, of which `SHARE` is held back unless the config says otherwise, and
        unless there are too few.

    Raises UserError when the share of the config is none of the examples, or all.
    """
    lines = torch.cat([source.columns["caption"].cpu() for source in sources])
    ranked = sorted(set(lines.tolist()), key=lambda line: derive_seed(seed, line))
    share = monitoring.validation
    if share is None:
        share = SHARE if own and len(ranked) >= ENOUGH else 0.0
    held = torch.tensor(sorted(ranked[: round(share * len(ranked))]), dtype=torch.int64)
    if share and not 0 < len(held) < len(ranked):
        part = "all" if len(held) else "none"
        raise UserError(
            f"monitoring.validation: {share:g} of {count_of(len(ranked), 'example')} is {part}: give another "
            "share, or 0."
        )
    return held


def split(sources: Sequence[Shards], held: Tensor) -> tuple[list[Shards], list[Shards]]:
    """The examples of sources to train on, and those with the captions that are held back.

    Sources without any of either are left out.
    """
    inside = [torch.isin(source.columns["caption"].cpu(), held) for source in sources]
    pairs = list(zip(sources, inside, strict=True))
    trained = [source.select(~rows) if rows.any() else source for source, rows in pairs if not rows.all()]
    return trained, [source.select(rows) for source, rows in pairs if rows.any()]
