"""A network of frozen and trained weights, seen by the trainer as the trained ones alone."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from core.condition import Condition

PREFIX, DOT = "trained.", "/"  # torch allows no dots in the name of a parameter


class AdaptedNetwork(nn.Module):
    """A network whose parameters are those of another one that require a gradient.

    Optimizer, moving average, gradient exchange and checkpoints then see the adapter only. The frozen
    weights exist once: a copy of this module copies the trained parameters, and shares the network. It
    belongs on its device before it is wrapped.
    """

    def __init__(self, network: nn.Module) -> None:
        """network: `(x, t, condition) -> Tensor`, on its device; it is set to training mode."""
        super().__init__()
        trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        if not trained:
            raise ValueError("no parameter of the network requires a gradient")
        self.trained = nn.ParameterDict({name.replace(".", DOT): weight for name, weight in trained.items()})
        self._frozen = _Shared(network.train())  # some versions of diffusers recompute activations only then

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The network's output."""
        return self._frozen.network(x, t, condition)


def trained_weights(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in the state dict of an `AdaptedNetwork`, under their names in the network."""
    return {name.removeprefix(PREFIX).replace(DOT, "."): weight for name, weight in stored.items()}


class _Shared:
    """A network that is neither registered in a module nor copied with it."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Shared":
        return self
