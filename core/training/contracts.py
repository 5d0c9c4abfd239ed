"""What the trainer works with: a model, a task with its loss, an auxiliary network, monitors."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from core.training import checkpoint
from core.training.batch import Batch


class Trainable(Protocol):
    """A model with a trained network and fixed parts around it, such as a `Denoiser`."""

    @property
    def network(self) -> nn.Module:
        """The trained network."""
        ...

    def with_network(self, network: nn.Module, /) -> "Trainable":
        """The same model with another network: the trained one, wrapped for several processes."""
        ...


class Task(Protocol):
    """Training examples and their loss. A task that is `checkpoint.Stateful` is stored with the run.

    One that is not `Drawn` draws the random numbers of each part of a batch by itself.
    """

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def loss(self, model: Any, batch: Any, /) -> Tensor:
        """Loss of each example, (B,). It may draw from the global generators.

        model: the trainer's model. batch: indices of the examples, (B,) on the CPU, or rows of what `draw`
        has made of them.
        """
        ...


@runtime_checkable
class Drawn(Task, Protocol):
    """A task that draws all that is random about a step before its loss, for the whole batch."""

    def draw(self, index: Tensor, /) -> Batch:
        """The batch of the examples at index (B,), on the CPU."""
        ...


class AuxiliaryNetwork(checkpoint.Learner, Protocol):
    """An auxiliary network that the task trains within `loss`, such as a discriminator.

    The trainer sets its learning rate to that of the run times the "factor" of each parameter group, and
    stores its state in the checkpoint.
    """

    def begin(self, done: float, /) -> None:
        """Called before every step. done: completed fraction of the run, in [0, 1)."""
        ...


class Monitor(Protocol):
    """Watches a run without changing it, such as `Validation` and `SampleSheets` of `monitoring`.

    It may draw from the global generators, which every step seeds again.
    """

    def __call__(self, step: int, network: nn.Module, last: bool) -> dict[str, float]:
        """Called by all processes after every step; returns values for the log, the same in all of them.

        step: steps taken so far. network: the averaged weights, in evaluation mode. last: whether the run
        ends here.
        """
        ...
